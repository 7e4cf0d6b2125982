import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Engine, openOpenAiEngine } from '#engines'
import { verifyReceipt, type WorkerId } from '#protocol'
import { systemRuntime } from '#runtime'
import { type OpenDoor, openDoor, temporaryFolder, testPool } from '#testkit'
import { Standings } from '#verification'
import { writeRandomModel } from '../../../tools/demo-model/random-model.ts'
import { openQuietly } from '../../engines/llama/test-answers.ts'
import { ApiDouble } from '../../testkit/api-double.ts'
import { joinAgent } from '../../testkit/join-agent.ts'
import { demoModelPath } from '../../testkit/neighbourhood.ts'
import { SmallPool } from '../../testkit/small-pool.ts'
import { type TestDatabase, testDatabase } from '../../testkit/test-database.ts'
import type { Acts } from '../../verification/acts.ts'
import { type Checks, openChecks } from '../../verification/open-checks.ts'

/** A pool whose workers have nothing but the API of another pool, where real llama.cpp computes. */

const ends: (() => unknown)[] = []
let far: TestDatabase
let near: TestDatabase
let farApi: ApiDouble
let pool: SmallPool
let door: OpenDoor
let checks: Checks

async function join(to: OpenDoor, operator: number, engine: Engine): Promise<string> {
  const { id, leave } = await joinAgent(to, engine, operator)
  ends.unshift(leave)
  return id
}

const admit = ({ token }: { token?: Buffer }) => {
  return { ok: true, standing: 'approved', expiresAt: null, operator: `operator ${token?.[0]}` } as const
}

/** The other pool: the demo model, and one of the same form with other weights. */
async function openFar(): Promise<void> {
  far = await testDatabase()
  let jobs: SmallPool | undefined
  const farDoor = await openDoor({
    pool: testPool,
    admit,
    onAvailable: (worker) => {
      farApi.models.put(worker)
      jobs?.jobs.workerAvailable(worker)
    },
  })
  jobs = await SmallPool.open(far.database, { workers: () => farDoor.workers })
  const small = jobs
  farApi = await ApiDouble.open({ jobs: small.jobs })
  const folder = temporaryFolder()
  const other = path.join(folder.path, 'other.gguf')
  const size = { dim: 64, layers: 2, heads: 4, kvHeads: 2, ff: 128, context: 2_048 }
  writeRandomModel(other, { ...size, quant: 'q8_0', seed: 1 })
  const models = [
    { name: 'demo', path: demoModelPath },
    { name: 'other', path: other },
  ]
  ends.push(
    () => farApi[Symbol.asyncDispose](),
    () => small[Symbol.asyncDispose](),
    () => farDoor[Symbol.asyncDispose](),
    () => far.drop(),
    () => folder[Symbol.dispose](),
  )
  await join(farDoor, 1, await openQuietly({ models, slots: 8, contextTokens: 1_024 }))
}

async function openNear(): Promise<void> {
  near = await testDatabase()
  const { database } = near
  const standings = await Standings.open({ database, runtime: systemRuntime })
  const intake = new Proxy({} as Checks['intake'], {
    get: (_target, name: 'settle') => checks.intake[name].bind(checks.intake),
  })
  door = await openDoor({
    pool: testPool,
    admit,
    onAvailable: (worker) => available(worker),
    onChanged: (worker) => available(worker),
  })
  const available = (
    worker: Parameters<Checks['workerAvailable']>[0] & Parameters<SmallPool['jobs']['workerAvailable']>[0],
  ) => {
    checks.workerAvailable(worker)
    pool.jobs.workerAvailable(worker)
  }
  pool = await SmallPool.open(database, { workers: () => door.workers, checks: intake })
  const nothing = async () => {}
  const acts: Acts = {
    payBack: nothing,
    pauseReleases: nothing,
    resumeReleases: nothing,
    freeze: nothing,
    slash: nothing,
    refundUsers: nothing,
    blockOperator: nothing,
  }
  checks = await openChecks({
    database,
    commit: pool.commit,
    runtime: systemRuntime,
    standings,
    verifiers: { check: (id, ask, signal) => door.workers.check(id as WorkerId, ask, signal) },
    acts,
    pool: testPool,
    logStage: pool.log.stage,
    operatorOf: async () => undefined,
    kernelOf: () => undefined,
    events: {},
  })
  ends.push(
    () => checks[Symbol.asyncDispose](),
    () => standings[Symbol.dispose](),
    () => pool[Symbol.asyncDispose](),
    () => door[Symbol.asyncDispose](),
    () => near.drop(),
  )
}

/** A server in front of the other pool that leaves out what it says of probabilities. */
async function mute(): Promise<string> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { authorization = '' } = request.headers
    const headers = { authorization, 'content-type': 'application/json' }
    const body = request.method === 'POST' ? JSON.parse(Buffer.concat(chunks).toString()) : undefined
    if (body) {
      delete body.logprobs
      delete body.top_logprobs
    }
    const more = body ? { method: 'POST', body: JSON.stringify(body) } : {}
    const answer = await fetch(`${farApi.url}${request.url}`, { headers, ...more })
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' })
    response.end(Buffer.from(await answer.arrayBuffer()))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  ends.unshift(() => new Promise((resolve) => server.close(resolve)))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const upstream = (name: string, there: string, baseUrl = farApi.url) =>
  openOpenAiEngine({
    baseUrl,
    apiKey: 'sk-all',
    models: [{ name, upstream: there }],
    // So that of eight requests at once each of four has two.
    slots: 2,
    runtime: systemRuntime,
    log: { info() {}, warn() {} },
  })

beforeAll(async () => {
  await openFar()
  await openNear()
}, 180_000)
afterAll(async () => {
  for (const end of ends) await end()
})

const continues = (id: string) => {
  return door.workers
    .list()
    .find((worker) => worker.id === id)
    ?.offers[0]?.features.includes('continue')
}

async function ask(model: string, content: string, more: object) {
  const body = Buffer.from(JSON.stringify({ model, messages: [{ role: 'user', content }], max_tokens: 24, ...more }))
  const client = await pool.ask({ model, body, maxTokens: 24, promptBytes: body.length })
  await client.ended
  const file = await pool.receipt(client)
  const verdict = verifyReceipt(file, { poolKey: testPool.publicKey })
  expect(verdict.problem).toBeUndefined()
  const { statement } = JSON.parse(file.toString()).view
  return { statement, words: verdict.lines.find((line) => line.includes('assurance')) }
}

test('answers of upstreams are looked at by prefixes: one that has another model behind the name is caught, the honest are not', async () => {
  const honest: string[] = []
  for (const operator of [1, 2, 3]) honest.push(await join(door, operator, await upstream('demo', 'demo')))
  const cheat = await join(door, 4, await upstream('demo', 'other'))
  for (const id of honest) await expect.poll(() => continues(id), { timeout: 30_000 }).toBe(true)

  const words = ['abcd', 'hgfe', 'badcafe', 'deaf']
  for (const temperature of [0, 1]) {
    const asked = words.flatMap((word) => [`echo ${word}`, `tell me about lichen, ${word}`])
    const answers = await Promise.all(asked.map((content) => ask('demo', content, { temperature })))
    for (const { statement } of answers) {
      expect(statement).toMatchObject({ evidence: 'weak', assurance: { given: 'sampled', reason: null } })
    }
    expect(answers[0]?.words).toContain('evidence weak')
  }
  const rows = () => near.sql<{ workerId: string; state: string }[]>`select worker_id as "workerId", state from checks`
  const open = async () => (await rows()).filter(({ state }) => !/clean|hit|waived/.test(state)).length
  await expect.poll(open, { timeout: 150_000 }).toBe(0)
  const found = await rows()
  expect(found).toHaveLength(16)
  const of = (id: string) => found.filter(({ workerId }) => workerId === id).map(({ state }) => state)
  expect(of(cheat).length).toBeGreaterThan(0)
  expect(new Set(of(cheat))).toEqual(new Set(['hit']))
  expect(new Set(honest.flatMap(of))).toEqual(new Set(['clean']))
}, 240_000)

test('an upstream that shows no probabilities can be looked at by nobody, and receipts say so', async () => {
  const behind = await mute()
  const workers = [
    await join(door, 5, await upstream('quiet', 'demo', behind)),
    await join(door, 6, await upstream('quiet', 'demo', behind)),
  ]
  const { statement } = await ask('quiet', 'echo abcd', { temperature: 0 })
  expect(statement).toMatchObject({ evidence: 'none', assurance: { given: 'none', reason: 'no_verifier' } })
  expect(workers.map(continues)).toEqual([false, false])
})
