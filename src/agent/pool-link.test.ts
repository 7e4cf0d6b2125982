import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { EngineEnd } from '#engines'
import { decodeSigned, messageType, PoolError, type WorkerId } from '#protocol'
import {
  demoOffer,
  PacedEngine,
  type PacedEngineOptions,
  RunRecorder,
  type SessionPair,
  type SimulatedRuntime,
  sessionPair,
  simulatedRuntime,
  testWorker,
  withPapers,
} from '#testkit'
import { encodeDispatch, type RunOrder, Workers, workersLimits } from '#workers'
import { type AgentLog, EngineSet } from './engine-set.ts'
import { agentLimits } from './limits.ts'
import { PaperDesk } from './papers.ts'
import { type LinkEnd, PoolLink } from './pool-link.ts'

const worker = testWorker.id as WorkerId
const chat = (more: object = {}) =>
  Buffer.from(JSON.stringify({ model: 'demo', messages: [{ role: 'user', content: 'hi' }], ...more }))
const order: Omit<RunOrder, 'papers'> = {
  kind: 'chat',
  model: 'demo',
  digest: null,
  choice: 0,
  seed: '0f'.repeat(32),
  maxTokens: 1_000,
  resume: [],
  deadlineMs: 60_000,
  body: chat(),
}

const deskOf = (runtime: SimulatedRuntime) => new PaperDesk(testWorker, runtime, { requirePayerSignature: false })

let runtime: SimulatedRuntime
let workers: Workers
let pair: SessionPair
let logged: string[]

const log: AgentLog = {
  info: (fields, message) => logged.push(`${message} ${JSON.stringify(fields)}`),
  warn: (fields, message) => logged.push(`${message} ${JSON.stringify(fields)}`),
}

beforeEach(() => {
  runtime = simulatedRuntime(1)
  workers = new Workers({ runtime })
  pair = sessionPair(worker)
  logged = []
})
afterEach(() => workers.close())

/** A worker of these engines, connected and approved. */
async function connect(...options: Partial<PacedEngineOptions>[]) {
  const engines = options.map((more) => new PacedEngine({ runtime, pieces: ['a', 'b', 'c'], ...more }))
  workers.attach(pair.pool, { standing: 'approved', expiresAt: null, operator: 'op' })
  const set = new EngineSet(engines, 'lichen/0.1.0', log)
  const link = new PoolLink({
    session: pair.worker,
    engines: set,
    runtime,
    log,
    desk: deskOf(runtime),
    onWelcome: () => {},
  })
  let end: LinkEnd | undefined
  void link.ended.then((last) => {
    end = last
  })
  await runtime.pass(0)
  return { link, engines, ended: () => end?.code }
}

function dispatch(more: Partial<RunOrder> = {}) {
  const sink = new RunRecorder()
  const run = withPapers({ ...order, ...more }, { now: runtime.now() })
  return { sink, handle: workers.dispatch(worker, run, sink) }
}

const sentTypes = () => pair.worker.sent.map(({ type }) => type)
const tokenMessages = () => sentTypes().filter((type) => type === messageType.tokens).length

describe('a dispatched request', () => {
  test('is computed and answered', async () => {
    const { engines } = await connect({})
    const { sink } = dispatch({ maxTokens: 2, choice: 1 })
    await runtime.pass(100)
    expect([sink.text, sink.last]).toEqual(['ab', ['end length']])
    expect(sink.ended).toEqual({ finish: 'length', promptTokens: 5, completionTokens: 2 })
    const [task] = engines[0]?.tasks ?? []
    expect(task).toMatchObject({ kind: 'chat', model: 'demo', choice: 1, seed: Buffer.alloc(32, 0x0f), maxTokens: 2 })
    expect(task?.request).toMatchObject({ messages: [{ role: 'user', content: 'hi' }] })
  })

  test('is continued after the tokens another worker computed', async () => {
    await connect({})
    const { sink } = dispatch({ resume: [0, 1] })
    await runtime.pass(100)
    expect([sink.text, sink.last]).toEqual(['c', ['end stop']])
  })

  test('is computed alone when its assignment says so, and its statement says so and of which kernel class it is', async () => {
    const { engines } = await connect({})
    const said = async (decode: 'batched' | 'isolated') => {
      const sink = new RunRecorder()
      workers.dispatch(worker, withPapers(order, { now: runtime.now(), wrong: { decode } }), sink)
      await runtime.pass(100)
      const statement = decodeSigned(sink.statement ?? Buffer.alloc(0), 'worker-statement/1')
      return statement.ok ? [statement.signed.message.decode, statement.signed.message.kernel] : sink.last
    }
    expect(await said('batched')).toEqual(['batched', null])
    workers.tellKernel(worker, 'demo', 'class 1')
    expect(await said('isolated')).toEqual(['isolated', null])
    expect(engines[0]?.tasks.map(({ isolated }) => isolated)).toEqual([false, true])
  })

  test('that must be computed alone is refused by an engine that cannot', async () => {
    const { engines } = await connect({ kind: 'openai' })
    const sink = new RunRecorder()
    const alone = withPapers(order, { now: runtime.now(), wrong: { decode: 'isolated' } })
    workers.dispatch(worker, alone, sink)
    await runtime.pass(100)
    expect([sink.last, engines[0]?.tasks]).toEqual([['failed upstream_error, retry'], []])
  })

  test('brings log probabilities when they were asked for', async () => {
    await connect({})
    const { sink } = dispatch({ body: chat({ logprobs: true }) })
    await runtime.pass(100)
    expect(sink.text).toBe('abc')
    expect(sentTypes()).toContain(messageType.tokenDetails)
  })

  test('goes to the engine that has the model, with the very file', async () => {
    const other = { ...demoOffer, name: 'other', digest: 'cd'.repeat(32) }
    const { engines } = await connect({}, { offers: [other] })
    const runs = [
      dispatch({ model: 'other', digest: other.digest }),
      dispatch({ digest: other.digest }),
      dispatch({ model: 'gone' }),
    ]
    await runtime.pass(100)
    expect(engines.map((engine) => engine.tasks.length)).toEqual([0, 1])
    expect(runs.map(({ sink }) => sink.last)).toEqual([
      ['end stop'],
      ['failed model_not_found, retry'],
      ['failed model_not_found, retry'],
    ])
  })

  test('that is wrong is refused in words the client may read', async () => {
    await connect({})
    const { sink } = dispatch({ body: chat({ temperature: 9 }) })
    await runtime.pass(100)
    expect(sink.last).toEqual(['failed invalid_request'])
    expect(sink.refusal?.param).toBe('temperature')
  })
})

describe('tokens on their way', () => {
  const stream = { body: chat({ stream: true }) }

  test('the first leaves at once, the others together', async () => {
    await connect({ pieces: Array(30).fill('x'), everyMs: 1 })
    const { sink } = dispatch(stream)
    await runtime.pass(1)
    expect(sink.text).toBe('x')
    await runtime.pass(10)
    expect(sink.text).toBe('xx') // nothing was sent for a while: the second is not held back either
    await runtime.pass(100)
    expect(sink.text).toBe('x'.repeat(30))
    expect(tokenMessages()).toBeLessThanOrEqual(4)
  })

  test('a slow engine waits for nobody', async () => {
    await connect({ pieces: Array(5).fill('x'), everyMs: 50 })
    const { sink } = dispatch(stream)
    await runtime.pass(151)
    expect(sink.text).toBe('xxx')
    expect(tokenMessages()).toBe(3)
  })

  test('of an answer that nobody reads before it is whole wait for company', async () => {
    await connect({ pieces: Array(50).fill('x'), everyMs: 10 })
    const whole = dispatch()
    await runtime.pass(350)
    expect(whole.sink.text.length).toBeGreaterThan(10) // what another worker would continue from
    await runtime.pass(200)
    expect([whole.sink.text.length, whole.sink.last]).toEqual([50, ['end stop']])
    expect(tokenMessages()).toBeLessThanOrEqual(5)
  })

  test('an engine stands still while nobody reads, and goes on when somebody does', async () => {
    const pieces = Array(1_000).fill('x'.repeat(1_000))
    const { engines } = await connect({ pieces })
    const { sink, handle } = dispatch()
    await runtime.pass(1_000)
    expect(engines[0]?.given).toBeLessThan((2 * workersLimits.creditBytes) / 1_000)
    let read = 0
    for (let turns = 0; sink.last.length === 0 && turns < 200; turns++) {
      handle.consumed(sink.text.length - read)
      read = sink.text.length
      await runtime.pass(20)
    }
    expect([sink.text.length, sink.last]).toEqual([1_000_000, ['end stop']])
  })

  test('one vector longer than the window still arrives', async () => {
    const values = new Float32Array(30_000).fill(0.5)
    const usage = { promptTokens: 1, completionTokens: 0 }
    await connect({
      instead: async (_, sink) => {
        for (let i = 0; i < 3; i++) sink.vector(i, values)
        return { finish: 'stop', usage }
      },
    })
    const body = Buffer.from(JSON.stringify({ model: 'demo', input: ['a', 'b', 'c'] }))
    const { sink } = dispatch({ kind: 'embedding', maxTokens: 0, body })
    await runtime.pass(100)
    expect([sink.vectors.length, sink.last]).toEqual([3, ['end stop']])
    expect(sink.vectors[2]?.values).toEqual(values)
  })
})

describe('a run ends', () => {
  test('at the next token after a cancel, and its slot is free again', async () => {
    const { engines, link } = await connect({ pieces: Array(1_000).fill('x'), everyMs: 10, slots: 1 })
    const { sink, handle } = dispatch()
    await runtime.pass(100)
    handle.cancel()
    await runtime.pass(20)
    const given = engines[0]?.given ?? 0
    await runtime.pass(1_000)
    expect(engines[0]?.given).toBe(given)
    expect([sink.last, link.active, workers.show(worker).worker?.active]).toEqual([[], 0, 0])
  })

  test('at its deadline, on the worker too', async () => {
    const { engines, link } = await connect({ pieces: Array(1_000).fill('x'), everyMs: 10 })
    const { sink } = dispatch({ deadlineMs: 500 })
    await runtime.pass(1_000)
    expect(sink.last).toEqual(['failed deadline_exceeded'])
    expect([engines[0]?.given, link.active]).toEqual([expect.any(Number), 0])
    expect(engines[0]?.given).toBeLessThan(75)
  })

  test('when the engine crashes: what was computed arrives, the rest is for another worker', async () => {
    await connect({
      instead: async (_, sink) => {
        await sink.tokens([{ id: 1, piece: Buffer.from('a') }])
        await sink.tokens([{ id: 2, piece: Buffer.from('b') }])
        throw new Error('the prompt was: secret')
      },
    })
    const { sink } = dispatch()
    await runtime.pass(100)
    expect([sink.text, sink.last]).toEqual(['ab', ['failed upstream_error, retry']])
    expect(logged.join()).toContain('engine failed')
    expect(logged.join()).not.toContain('secret')
  })

  test('when the engine refuses: the client learns why', async () => {
    await connect({
      instead: async () => {
        throw new PoolError('unsupported_parameter', 'No tools here.', 'Ask without tools.', { param: 'tools' })
      },
    })
    const { sink } = dispatch()
    await runtime.pass(100)
    expect(sink.refusal).toMatchObject({ code: 'unsupported_parameter', param: 'tools', message: 'No tools here.' })
    expect(sink.last).toEqual(['failed unsupported_parameter'])
  })

  test('when the engine gives what no message can carry', async () => {
    const stopped: boolean[] = []
    await connect({
      instead: async (_, sink, signal) => {
        sink.vector(0, Float32Array.of(Number.NaN))
        stopped.push(signal.aborted)
        throw signal.reason
      },
    })
    const { sink } = dispatch({ kind: 'embedding', maxTokens: 0, body: Buffer.from('{"model":"demo","input":"a"}') })
    await runtime.pass(100)
    expect([sink.last, stopped]).toEqual([['failed upstream_error, retry'], [true]])
  })

  test('even if the engine never stops', async () => {
    const { link } = await connect({ slots: 1, instead: () => new Promise<EngineEnd>(() => {}) })
    const { handle } = dispatch()
    await runtime.pass(100)
    handle.cancel()
    await runtime.pass(agentLimits.engineStopMsMax + 2 * agentLimits.sweepMs)
    expect([link.active, workers.show(worker).worker?.active]).toEqual([0, 0])
    expect(logged.join()).toContain('engine did not stop')
  })

  test('with the session, quietly', async () => {
    const { engines, ended } = await connect({ pieces: Array(1_000).fill('x'), everyMs: 10 })
    dispatch()
    await runtime.pass(100)
    pair.cut()
    await runtime.pass(1_000)
    expect(ended()).toBe('pool_unreachable')
    expect(engines[0]?.given).toBeLessThan(12)
    expect(pair.worker.sent.at(-1)?.type).toBe(messageType.tokens)
  })
})

describe('the offer', () => {
  test('adds up what the engines give, and leaves out what the protocol cannot carry', async () => {
    const bad = { ...demoOffer, name: 'bad name' }
    await connect({ slots: 2 }, { slots: 3, offers: [{ ...demoOffer, name: 'other' }, demoOffer, bad] })
    const known = workers.show(worker).worker
    expect([known?.slots, known?.offers.map((offer) => offer.name)]).toEqual([5, ['demo', 'other']])
    expect(logged.filter((line) => line.includes('bad name'))).toHaveLength(1)
  })

  test('follows an engine that goes down and comes back', async () => {
    const { engines } = await connect({})
    engines[0]?.becomes([])
    await runtime.pass(0)
    expect(workers.show(worker).worker?.offers).toEqual([])
    engines[0]?.becomes([demoOffer])
    await runtime.pass(0)
    expect(workers.show(worker).worker?.offers).toEqual([demoOffer])
  })
})

describe('draining', () => {
  test('finishes what runs and takes nothing new', async () => {
    const { link } = await connect({ pieces: Array(10).fill('x'), everyMs: 10 })
    const { sink } = dispatch()
    await runtime.pass(20)
    let drained = false
    void link.drain().then(() => {
      drained = true
    })
    await runtime.pass(10)
    expect([drained, workers.show(worker).worker?.draining]).toEqual([false, true])
    await runtime.pass(200)
    expect([drained, sink.last]).toEqual([true, ['end stop']])
  })

  test('turns away what was on its way', async () => {
    const { link } = await connect({})
    const { sink } = dispatch()
    void link.drain()
    await runtime.pass(100)
    expect(sink.last).toEqual(['failed shutting_down, retry'])
  })
})

describe('a session is given up', () => {
  test('when the pool is silent for 10 s', async () => {
    const { ended } = await connect({})
    await runtime.pass(60_000)
    expect(ended()).toBeUndefined()
    pair.silence()
    await runtime.pass(10_000 + agentLimits.sweepMs)
    expect(ended()).toBe('pool_unreachable')
  })

  test('when no welcome comes', async () => {
    const link = new PoolLink({
      session: pair.worker,
      engines: new EngineSet([], 'lichen/0.1.0', log),
      runtime,
      log,
      desk: deskOf(runtime),
      onWelcome: () => {},
    })
    let code: string | undefined
    void link.ended.then((end) => {
      code = end.code
    })
    await runtime.pass(agentLimits.welcomeMsMax + agentLimits.sweepMs)
    expect([code, pair.worker.closed]).toEqual(['auth_deadline', true])
  })

  test('when the pool refuses, with its words', async () => {
    const { link } = await connect({})
    workers.disconnect(worker, { code: 'worker_revoked', message: 'Revoked by ann.', fix: 'Ask ann.' })
    expect(await link.ended).toEqual({ code: 'worker_revoked', message: 'Revoked by ann.', fix: 'Ask ann.' })
  })

  test('when the pool breaks the protocol', async () => {
    const { body, papers, ...fields } = withPapers({ ...order, body: chat() }, { now: runtime.now() })
    const header = { ...fields, stream: 5, lease: 'l', credit: 1 }
    for (const nonsense of [
      () => pair.pool.send(messageType.credit, Buffer.of(1)),
      () => pair.pool.send(messageType.hello),
      () => [1, 2].map(() => pair.pool.send(messageType.dispatch, encodeDispatch(header, papers, body))),
    ]) {
      pair = sessionPair(worker)
      const { ended } = await connect({ everyMs: 1_000 })
      nonsense()
      await runtime.pass(0)
      expect([ended(), pair.worker.closedWith?.code]).toEqual(['protocol_violation', 4400])
    }
  })

  test('a credit or a cancel for a run that just ended means nothing', async () => {
    const { ended } = await connect({})
    pair.pool.send(messageType.credit, Buffer.alloc(8))
    pair.pool.send(messageType.cancel, Buffer.alloc(4))
    await runtime.pass(100)
    expect(ended()).toBeUndefined()
  })
})
