import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type CheckTask,
  decodeSigned,
  type Evidence,
  encodeEvidence,
  messageType,
  PoolError,
  type WorkerId,
} from '#protocol'
import {
  PacedEngine,
  RunRecorder,
  type SessionPair,
  type SimulatedRuntime,
  sessionPair,
  simulatedRuntime,
  testWorker,
  withPapers,
} from '#testkit'
import { type CheckAsk, decodePoolMessage, Workers, workersLimits } from '#workers'
import { sampleEvidence } from '../testkit/sample-evidence.ts'
import { EngineSet } from './engine-set.ts'
import { agentLimits } from './limits.ts'
import { PaperDesk } from './papers.ts'
import { PoolLink } from './pool-link.ts'

const worker = testWorker.id as WorkerId
const ask: CheckAsk = {
  kind: 'chat',
  model: 'demo',
  digest: null,
  choice: 1,
  seed: '0f'.repeat(32),
  maxTokens: 64,
  contextTokens: 2_048,
  replay: 'prefill',
  positions: null,
  top: 2,
  deadlineMs: 30_000,
  body: Buffer.from('{"model":"demo","messages":[{"role":"user","content":"hi"}]}'),
  tokens: [0, 1, 2].map((id) => ({ id, piece: Buffer.from(`w${id}`) })),
}
const calibration = { model: 'demo', digest: null, text: 'a fresh text', deadlineMs: 30_000 }
const never = new AbortController().signal
const quiet = { info() {}, warn() {} }

/** What is seen of an answer that no model file stands behind. */
const evidence = sampleEvidence(3, { method: 'prefix' })

/** An engine that looks as long as it is told to, and sees what it is told to see. */
class LookingEngine extends PacedEngine {
  readonly looked: CheckTask[] = []
  readonly signals: AbortSignal[] = []
  readonly #runtime: SimulatedRuntime
  readonly #ms: number
  sees: Evidence | Error = evidence

  constructor(runtime: SimulatedRuntime, ms = 100) {
    super({ runtime, pieces: ['a'] })
    this.#runtime = runtime
    this.#ms = ms
  }

  async verify(task: CheckTask, signal: AbortSignal): Promise<Evidence> {
    this.looked.push(task)
    this.signals.push(signal)
    await this.#runtime.sleep(this.#ms, signal)
    if (this.sees instanceof Error) throw this.sees
    return this.sees
  }

  async kernelClass(_model: string, text: string, signal: AbortSignal): Promise<string> {
    await this.#runtime.sleep(this.#ms, signal)
    return Buffer.from(text.padEnd(32)).toString('hex').slice(0, 64)
  }
}

let runtime: SimulatedRuntime
let workers: Workers
let pair: SessionPair
let engine: LookingEngine
let link: PoolLink

beforeEach(() => {
  runtime = simulatedRuntime(1)
  workers = new Workers({ runtime })
})
afterEach(() => workers.close())

async function connect(engines?: PacedEngine[], ms?: number): Promise<void> {
  engine = new LookingEngine(runtime, ms)
  pair = sessionPair(worker)
  workers.attach(pair.pool, { standing: 'approved', expiresAt: null, operator: 'op' })
  const desk = new PaperDesk(testWorker, runtime, { requirePayerSignature: false })
  const set = new EngineSet(engines ?? [engine], 'lichen/0.1.0', quiet)
  link = new PoolLink({ session: pair.worker, engines: set, runtime, log: quiet, desk, onWelcome: () => {} })
  await runtime.pass(0)
}

const check = (more: Partial<CheckAsk> = {}, signal = never) => workers.check(worker, { ...ask, ...more }, signal)
const refusedAs = (code: string) => ({ refusal: { code } })
const failures = () => pair.worker.sent.filter(({ type }) => type === messageType.checkFailed).length

describe('a check at a worker', () => {
  test('is computed as it was asked, committed to, and shown when it is wanted', async () => {
    await connect()
    const run = check({ positions: [0, 1, 2] })
    await runtime.pass(100)
    const { commitment } = await run.committed
    expect(commitment).toHaveLength(32)
    const [task] = engine.looked
    const { tokens, positions, replay, contextTokens, choice } = ask
    expect(task).toMatchObject({ tokens, replay, contextTokens, choice, seed: Buffer.alloc(32, 0x0f) })
    expect([task?.positions, positions]).toEqual([[0, 1, 2], null])
    expect(task?.request).toMatchObject({ messages: [{ role: 'user', content: 'hi' }] })
    expect(pair.worker.sent.map(({ type }) => type)).not.toContain(messageType.evidence)
    const shown = run.reveal()
    await runtime.pass(0)
    expect(await shown).toMatchObject({ evidence, bytes: encodeEvidence(evidence) })
    expect(failures()).toBe(0)
  })

  test('never has the same commitment twice, though it sees the same', async () => {
    await connect()
    const runs = [check(), check()]
    await runtime.pass(200)
    const [first, second] = await Promise.all(runs.map(({ committed }) => committed))
    expect(first?.commitment.equals(second?.commitment ?? Buffer.alloc(0))).toBe(false)
  })

  test('that is to be revealed before it is committed to is over', async () => {
    await connect()
    const run = check()
    await runtime.pass(0)
    const id = Buffer.from(run.id.replaceAll('-', ''), 'hex')
    pair.pool.send(messageType.reveal, id)
    await runtime.pass(0)
    await expect(run.committed).rejects.toMatchObject(refusedAs('upstream_error'))
    await runtime.pass(200)
    expect(engine.signals[0]?.aborted).toBe(true)
    const types = pair.worker.sent.map(({ type }) => type)
    expect(types).not.toContain(messageType.committed)
    expect(types).not.toContain(messageType.evidence)
  })

  test('goes on beside the runs, two at once; the others wait', async () => {
    await connect()
    const runs = Array.from({ length: workersLimits.checksPerWorkerMax }, () => check())
    await runtime.pass(0)
    expect(engine.looked).toHaveLength(agentLimits.checksAtOnce)
    expect(link.active).toBe(0)
    await runtime.pass(250)
    await Promise.all(runs.map(({ committed }) => committed))
    expect(engine.looked).toHaveLength(runs.length)
  })

  test.each<[string, Evidence | Error, string]>([
    ['the request is at fault', new PoolError('context_length_exceeded', 'Long.', 'Cut.'), 'context_length_exceeded'],
    ['the engine failed', new Error('the prompt was: secret'), 'upstream_error'],
  ])('fails when %s, without a word of the prompt', async (_, sees, code) => {
    await connect()
    engine.sees = sees
    const run = check()
    await runtime.pass(200)
    await expect(run.committed).rejects.toMatchObject(refusedAs(code))
    expect(pair.worker.sent.some(({ body }) => body.includes('secret'))).toBe(false)
  })

  test('of a model it does not have, or of a request that is none, is refused', async () => {
    await connect()
    const runs = [check({ model: 'other' }), check({ digest: 'ee'.repeat(32) }), check({ body: Buffer.from('{}') })]
    await runtime.pass(200)
    for (const [n, code] of ['model_not_found', 'model_not_found', 'invalid_request'].entries()) {
      await expect(runs[n]?.committed).rejects.toMatchObject(refusedAs(code))
    }
  })

  test('is given up by either side when its time is over', async () => {
    await connect(undefined, 1_000_000)
    const run = check({ deadlineMs: 1_000 })
    await runtime.pass(2_000)
    await expect(run.committed).rejects.toMatchObject(refusedAs('deadline_exceeded'))
    expect(engine.signals[0]?.aborted).toBe(true)
    expect([failures(), workers.show(worker).worker?.checking]).toEqual([1, 0])
  })

  test('is given up when the pool has no use for it any more, seen or not', async () => {
    await connect()
    const caller = new AbortController()
    const [bound, open] = [check({}, caller.signal), check({}, caller.signal)]
    await runtime.pass(50)
    const later = check({}, caller.signal)
    await runtime.pass(60)
    await bound.committed
    caller.abort(new Error('enough'))
    await runtime.pass(0)
    await expect(later.committed).rejects.toThrow('enough')
    await expect(open.reveal()).rejects.toThrow('enough')
    expect(engine.signals.map(({ aborted }) => aborted)).toEqual([true, true, true])
    expect([failures(), workers.show(worker).worker?.checking]).toEqual([3, 0])
    expect(workers.show(worker).violations).toEqual([])
  })

  test('ends with the session, and when the worker is told to leave', async () => {
    await connect()
    const lost = check()
    await runtime.pass(0)
    pair.cut()
    await runtime.pass(0)
    expect(engine.signals[0]?.aborted).toBe(true)
    await expect(lost.committed).rejects.toMatchObject(refusedAs('worker_lost'))

    await connect()
    const given = check()
    await runtime.pass(0)
    await link.drain()
    await runtime.pass(0)
    await expect(given.committed).rejects.toMatchObject(refusedAs('shutting_down'))
    await expect(check().committed).rejects.toMatchObject(refusedAs('overloaded'))
  })
})

test('a kernel class is found by the text of the pool', async () => {
  await connect()
  const found = workers.calibrate(worker, calibration, never)
  await runtime.pass(100)
  expect(await found).toBe(Buffer.from(calibration.text.padEnd(32)).toString('hex'))
})

test('a worker repeats in its statements what the pool found it to be, until it is told otherwise', async () => {
  await connect()
  const kernels = ['class 1', null].map(async (kernel) => {
    workers.tellKernel(worker, 'demo', kernel)
    const sink = new RunRecorder()
    const { positions: _, replay: __, top: ___, contextTokens: ____, tokens: _____, ...order } = ask
    workers.dispatch(worker, withPapers({ ...order, resume: [] }, { now: runtime.now() }), sink)
    await runtime.pass(100)
    const statement = decodeSigned(sink.statement ?? Buffer.alloc(0), 'worker-statement/1')
    return statement.ok ? statement.signed.message.kernel : sink.last
  })
  expect(await Promise.all(kernels)).toEqual(['class 1', null])
})

test('a worker whose engines cannot look says so', async () => {
  await connect([new PacedEngine({ runtime, pieces: ['a'] })])
  expect(workers.show(worker).worker?.features).toEqual(['llama'])
  await expect(check().committed).rejects.toMatchObject(refusedAs('no_worker'))
  await expect(workers.calibrate(worker, calibration, never)).rejects.toMatchObject(refusedAs('no_worker'))
})

test('an engine of two that cannot look refuses what it is asked', async () => {
  const other = { ...new PacedEngine({ runtime, pieces: [] }).offers[0], name: 'plain' } as never
  await connect([new LookingEngine(runtime), new PacedEngine({ runtime, pieces: ['a'], offers: [other] })])
  expect(workers.show(worker).worker?.features).toEqual(['llama', 'verify'])
  const refused = [
    expect(check({ model: 'plain' }).committed).rejects.toMatchObject(refusedAs('unsupported_parameter')),
    expect(workers.calibrate(worker, { ...calibration, model: 'plain' }, never)).rejects.toMatchObject(
      refusedAs('unsupported_parameter'),
    ),
  ]
  await runtime.pass(0)
  await Promise.all(refused)
})

test('nothing of a check but its request and answer reaches the worker', async () => {
  await connect()
  check()
  await runtime.pass(0)
  const [sent] = pair.pool.sent.filter(({ type }) => type === messageType.check)
  const decoded = decodePoolMessage(messageType.check, sent?.body ?? Buffer.alloc(0))
  if (!decoded.ok || decoded.message.say !== 'check') throw new Error('not a check')
  const { check: _, bodyBytes, ...header } = decoded.message.header
  const { body, tokens, ...asked } = ask
  expect(header).toEqual(asked)
  expect([bodyBytes, decoded.message.body, decoded.message.tokens]).toEqual([body.length, body, tokens])
})
