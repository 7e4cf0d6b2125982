import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Engine } from '#engines'
import { type AssuranceLevel, verifyReceipt, type WorkerId } from '#protocol'
import { systemRuntime } from '#runtime'
import { type OpenDoor, openDoor, testPool } from '#testkit'
import { Kernels } from '#verification'
import type { ConnectedWorker } from '#workers'
import { openLlamaEngine } from '../engines/llama/open-llama-engine.ts'
import { DishonestEngine, type DishonestOptions } from '../testkit/dishonest-engine.ts'
import { joinAgent } from '../testkit/join-agent.ts'
import { demoModelPath } from '../testkit/neighbourhood.ts'
import { SmallPool } from '../testkit/small-pool.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import { Comparison } from '../verification/comparison.ts'
import { VerifierIndex } from '../verification/verifier-index.ts'

/** Real llama.cpp in two of its builds, real agents, real sessions: who agrees with whom is measured, not said. */

let home: TestDatabase
let pool: SmallPool
let door: OpenDoor
let classes: Kernels
/** What workers of two classes found of each other's answers. */
const found: (string | undefined)[] = []
const ends: (() => Promise<void>)[] = []

beforeAll(async () => {
  home = await testDatabase()
  const index = new VerifierIndex(() => true)
  const available = (worker: ConnectedWorker) => {
    classes.put(worker)
    index.put(worker)
    pool.jobs.workerAvailable(worker)
  }
  door = await openDoor({
    pool: testPool,
    // Who comes with the token 1 belongs to operator 1.
    admit: ({ token }) => ({ ok: true, standing: 'approved', expiresAt: null, operator: `operator ${token?.[0]}` }),
    onAvailable: available,
    onChanged: available,
    onGone: (id) => {
      classes.remove(id)
      index.remove(id)
      pool.jobs.workerGone(id)
    },
  })
  classes = new Kernels({
    runtime: systemRuntime,
    measure: (id, ask, signal) => door.workers.calibrate(id as WorkerId, ask, signal),
    tell: (id, model, kernel) => {
      door.workers.tellKernel(id as WorkerId, model, kernel)
      pool.jobs.kernelsChanged(id as WorkerId)
    },
  })
  const kernelOf = (id: WorkerId, digest: string) => classes.of(id, digest)
  const real = new Comparison({
    database: home.database,
    runtime: systemRuntime,
    verifiers: { check: (id, ask, signal) => door.workers.check(id as WorkerId, ask, signal) },
    index,
    epochs: { at: () => ({ epoch: 1, key: Buffer.alloc(32, 1), commitment: Buffer.alloc(32, 2) }) },
    kernelOf: (id, digest) => classes.of(id, digest),
  })
  const comparison = {
    isSameClass: real.isSameClass.bind(real),
    async look(...args: Parameters<Comparison['look']>) {
      const look = await real.look(...args)
      found.push(look?.says)
      return look
    },
  }
  pool = await SmallPool.open(home.database, { workers: () => door.workers, kernelOf, comparison })
})
afterAll(async () => {
  for (const end of ends) await end()
  classes[Symbol.dispose]()
  await pool[Symbol.asyncDispose]()
  await door[Symbol.asyncDispose]()
  await home.drop()
})

const open = (cpuBuild?: string) =>
  openLlamaEngine({
    models: [{ name: 'demo', path: demoModelPath }],
    threads: 1,
    runtime: systemRuntime,
    log: { info() {}, warn() {} },
    ...(cpuBuild ? { cpuBuild } : {}),
  })

async function join(operator: number, engine: Engine): Promise<string> {
  const first = door.workers.list().length === 0
  const { id, leave } = await joinAgent(door, engine, operator)
  ends.push(leave)
  if (!first) await expect.poll(() => classOf(id), { timeout: 30_000 }).toBeDefined()
  return id
}

const classOf = (id: string) => classes.of(id, door.workers.list()[0]?.offers[0]?.digest ?? '')

async function ask(level: AssuranceLevel, content: string, more: object) {
  const asked = { model: 'demo', messages: [{ role: 'user', content }], max_tokens: 24, ...more }
  const body = Buffer.from(JSON.stringify(asked))
  const assurance = { level, explicit: true }
  const client = await pool.ask({ model: 'demo', body, maxTokens: 24, promptBytes: body.length, assurance })
  const reply = await client.ended
  const file = await pool.receipt(client)
  expect(verifyReceipt(file, { poolKey: testPool.publicKey })).toMatchObject({ ok: true })
  return { reply, statement: JSON.parse(file.toString()).view.statement, file: JSON.parse(file.toString()) }
}

test('operators with one arithmetic agree to the last token, by chance or without; another arithmetic is no company; a cheat is outvoted', async () => {
  const first = await join(1, await open())
  const cheating: { -readonly [name in keyof DishonestOptions]: DishonestOptions[name] } = {
    cheat: { kind: 'stops_early', tokens: 3 },
    rate: 0,
  }
  const other = await join(2, new DishonestEngine(await open('x64'), cheating))
  expect(classOf(first)).toBeDefined()
  expect(classOf(other)).not.toBe(classOf(first))
  await expect(ask('deterministic', 'echo abcd', { temperature: 0 })).rejects.toMatchObject({
    message: expect.stringContaining('no_same_class_pair'),
  })

  const mixed = await ask('required', 'echo abcd', { temperature: 0 })
  expect(mixed.reply.texts).toEqual(['abcd'])
  expect(mixed.statement).toMatchObject({ evidence: 'margin', assurance: { given: 'required', reason: null } })
  // The same on both arithmetics, or each has found the other's clean: which of them, the receipt says.
  const answers = new Set(mixed.file.view.workers.map(({ sent }: { sent: string }) => sent))
  expect(mixed.statement.checks ?? []).toHaveLength(answers.size === 1 ? 0 : 2)
  cheating.rate = 1
  const { reply: denied } = await ask('required', 'echo hgfedcba', { temperature: 0 })
  expect(denied).toMatchObject({ texts: [], refusal: { code: 'assurance_unavailable' } })
  // Each looked at the other's: the honest answer is good on the other arithmetic, too, and the one cut short is not.
  expect(found.sort()).toEqual(['clean', 'hit'])

  const second = await join(3, await open())
  expect(classOf(second)).toBe(classOf(first))
  const fixed = await ask('deterministic', 'echo abcd', { temperature: 0 })
  expect(fixed.reply.texts).toEqual(['abcd'])
  expect(fixed.statement).toMatchObject({ evidence: 'exact', assurance: { given: 'deterministic', reason: null } })
  for (const seed of [1, 2, 3]) {
    const { reply, statement, file } = await ask('required', 'tell me about lichen', { temperature: 1.3, seed })
    expect(reply.refusal).toBeUndefined()
    expect(new Set(statement.exposure)).toEqual(new Set([first, second]))
    const [one, two] = file.view.workers
    expect([one.sent, one.decode]).toEqual([two.sent, 'isolated'])
  }

  const honest = await open()
  const cheat = await join(4, new DishonestEngine(honest, { cheat: { kind: 'stops_early', tokens: 2 }, rate: 1 }))
  expect(classOf(cheat)).toBe(classOf(first))
  // All at once: the pool's favourites are busy, and everybody is asked.
  const words = ['hgfe', 'abcd', 'bdfh', 'abc', 'fed', 'hgf', 'cab', 'bad', 'face', 'cafe', 'deaf', 'head']
  for (let round = 0; round < 4 && pool.eventsNamed('dissented').length === 0; round++) {
    const answers = await Promise.all(words.map((word) => ask('required', `echo ${word}`, { temperature: 0 })))
    answers.forEach(({ reply }, n) => {
      expect(reply.texts[0]).toHaveLength(words[n]?.length ?? 0)
    })
  }
  expect(new Set(pool.eventsNamed('dissented').map(({ workerId }) => workerId))).toEqual(new Set([cheat]))
  await expect(pool.ledger.balance(`held:${cheat}`)).rejects.toThrow()
}, 120_000)
