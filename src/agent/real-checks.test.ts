import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Identity, identityFromSeed } from '#crypto'
import { decodeSigned, type Token, type TokenBatch, type WorkerId } from '#protocol'
import { systemRuntime } from '#runtime'
import { sessionPair, temporaryFolder, withPapers } from '#testkit'
import { type CheckAsk, type RunOrder, Workers } from '#workers'
import { writeRandomModel } from '../../tools/demo-model/random-model.ts'
import type { LlamaEngine } from '../engines/llama/llama-engine.ts'
import { openQuietly, plainBuild, scoreOf } from '../engines/llama/test-answers.ts'
import { Kernels } from '../verification/kernels.ts'
import { EngineSet } from './engine-set.ts'
import { PaperDesk } from './papers.ts'
import { PoolLink } from './pool-link.ts'

/** A pool, and workers with real llama.cpp: two of one kernel class, one of another. */
const names = ['ann', 'bob', 'carla'] as const
type Name = (typeof names)[number]
const identities = Object.fromEntries(
  names.map((name, n) => [name, identityFromSeed(Buffer.alloc(32, n + 1))]),
) as Record<Name, Identity>
const idOf = (name: Name) => identities[name].id as WorkerId
const folder = temporaryFolder()
const runtime = systemRuntime
const quiet = { info() {}, warn() {} }
const never = new AbortController().signal

let workers: Workers
let digest: string
const engines = {} as Record<Name, LlamaEngine>
const cables = {} as Record<Name, ReturnType<typeof sessionPair>>

function connect(name: Name): void {
  const pair = sessionPair(identities[name])
  cables[name] = pair
  workers.attach(pair.pool, { standing: 'approved', expiresAt: null, operator: name })
  const desk = new PaperDesk(identities[name], runtime, { requirePayerSignature: false })
  const set = new EngineSet([engines[name]], 'lichen/0.1.0', quiet)
  new PoolLink({ session: pair.worker, engines: set, runtime, log: quiet, desk, onWelcome() {} })
}

beforeAll(async () => {
  writeRandomModel(path.join(folder.path, 'moss.gguf'), {
    dim: 64,
    layers: 6,
    heads: 4,
    kvHeads: 2,
    ff: 128,
    context: 2048,
    quant: 'q8_0',
    seed: 1,
  })
  const options = { models: [{ path: folder.path }], contextTokens: 1_024, slots: 2 }
  workers = new Workers({ runtime })
  for (const name of names) {
    engines[name] = await openQuietly(name === 'bob' ? { ...options, cpuBuild: plainBuild } : options)
    connect(name)
  }
  digest = engines.ann.offers[0]?.digest ?? ''
  while (workers.list().length < names.length) await runtime.sleep(10)
})
afterAll(async () => {
  workers.close()
  for (const name of names) await engines[name][Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

const request = { model: 'moss', messages: [{ role: 'user', content: 'tell me about moss' }], temperature: 1 }
const seed = '0e'.repeat(32)
const order: Omit<RunOrder, 'papers'> = {
  kind: 'chat',
  model: 'moss',
  digest: null,
  choice: 0,
  seed,
  maxTokens: 24,
  resume: [],
  deadlineMs: 120_000,
  body: Buffer.from(JSON.stringify(request)),
}

/** An answer as the pool has it: what it relayed, and the statement. */
async function answered(by: Name, decode: 'batched' | 'isolated') {
  const tokens: Token[] = []
  const over = Promise.withResolvers<Buffer | null>()
  const fail = (why: unknown) => over.reject(new Error(JSON.stringify(why)))
  const sink = {
    tokens: (more: TokenBatch) =>
      void tokens.push(...[...more].map(({ id, piece }) => ({ id, piece: Buffer.from(piece) }))),
    delta() {},
    vector() {},
    end: ({ statement }: { statement: Buffer | null }) => over.resolve(statement),
    failed: fail,
    lost: fail,
  }
  const run = withPapers({ ...order, digest }, { now: runtime.now(), worker: idOf(by), wrong: { decode } })
  workers.dispatch(idOf(by), run, sink)
  const statement = decodeSigned((await over.promise) ?? Buffer.alloc(0), 'worker-statement/1')
  if (!statement.ok) throw new Error(statement.problem)
  return { tokens, statement: statement.signed.message }
}

const asking = (tokens: Token[], more: Partial<CheckAsk> = {}): CheckAsk => ({
  kind: 'chat',
  model: 'moss',
  digest,
  choice: 0,
  seed,
  maxTokens: order.maxTokens,
  contextTokens: 1_024,
  replay: 'prefill',
  positions: null,
  top: 3,
  deadlineMs: 120_000,
  body: order.body,
  tokens,
  ...more,
})

async function looked(by: Name, ask: CheckAsk) {
  const run = workers.check(idOf(by), ask, never)
  await run.committed
  return (await run.reveal()).evidence
}

test('an answer is looked at by workers of both kernel classes, beside their own work, and is honest', async () => {
  const { tokens } = await answered('ann', 'batched')
  expect(tokens).toHaveLength(order.maxTokens)
  const [same, other] = await Promise.all([
    looked('carla', asking(tokens)),
    looked('bob', asking(tokens)),
    answered('bob', 'batched'),
    answered('carla', 'batched'),
  ])
  for (const evidence of [same, other]) {
    expect(evidence).toMatchObject({ method: 'replay', completionTokens: tokens.length, wrongPieces: [] })
    expect(evidence.positions.map(({ chosen }) => chosen.id)).toEqual(tokens.map(({ id }) => id))
    expect(evidence.positions.every(({ top }) => top.length === 3)).toBe(true)
    expect(scoreOf(evidence).worst).toBeLessThan(1)
  }
})

test('an answer computed alone is the same to the last bit on a machine of its class, and nobody else’s', async () => {
  const { tokens, statement } = await answered('ann', 'isolated')
  expect(statement.decode).toBe('isolated')
  const ask = asking(tokens, { replay: 'isolated' })
  const [own, twin, stranger] = [await looked('ann', ask), await looked('carla', ask), await looked('bob', ask)]
  expect(scoreOf(twin)).toEqual({ mean: 0, worst: 0, ending: 0 })
  expect([twin.logitsHash === own.logitsHash, stranger.logitsHash === own.logitsHash]).toEqual([true, false])
})

test('an edited token, and text that the tokens do not say, are seen through the protocol', async () => {
  const { tokens } = await answered('ann', 'batched')
  const edited = tokens.map((token, n) => (n === 5 ? { ...token, id: 3 + ((token.id + 11) % 250) } : token))
  const evidence = await looked('bob', asking(edited, { positions: [4, 5] }))
  expect(evidence.positions.map(({ position }) => position)).toEqual([4, 5])
  expect([evidence.wrongPieces, (evidence.positions[1]?.margin ?? 0) > 2]).toEqual([[5], true])
})

test('the pool measures who is of one class, tells them, and they say so', async () => {
  const found = new Map<string, string | null>()
  using kernels = new Kernels({
    runtime,
    measure: (id, ask, signal) => workers.calibrate(id as WorkerId, ask, signal),
    tell: (id, model, kernel) => {
      found.set(id, kernel)
      workers.tellKernel(id as WorkerId, model, kernel)
    },
  })
  for (const worker of workers.list()) kernels.put(worker)
  while (found.size < names.length) await runtime.sleep(50)
  const [ann, bob, carla] = names.map((name) => kernels.of(idOf(name), digest))
  expect([ann === carla, ann === bob, ann === undefined]).toEqual([true, false, false])
  expect((await answered('bob', 'batched')).statement).toMatchObject({ kernel: bob, decode: 'batched' })
})

test('a check ends when its worker is cut off, and the engine is free for the next session', async () => {
  const { tokens } = await answered('ann', 'batched')
  const lost = workers.check(idOf('carla'), asking(tokens, { replay: 'isolated' }), never)
  cables.carla.cut()
  await expect(lost.committed).rejects.toMatchObject({ refusal: { code: 'worker_lost' } })
  connect('carla')
  while (!workers.show(idOf('carla')).worker) await runtime.sleep(10)
  expect(scoreOf(await looked('carla', asking(tokens))).worst).toBeLessThan(1)
})
