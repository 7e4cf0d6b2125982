import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { messageType, parseWorkerId, protocolLimits, type Refusal, type WorkerId } from '#protocol'
import {
  demoOffer,
  RawWorker,
  RunRecorder,
  type SessionPair,
  type SimulatedRuntime,
  sessionPair,
  simulatedRuntime,
} from '#testkit'
import { encodeDelta, encodeFailed, encodeHello, encodeVector } from './encode-message.ts'
import { workersLimits } from './limits.ts'
import type { RunOrder } from './run.ts'
import type { Admission } from './worker-session.ts'
import { Workers } from './workers.ts'

const alice = parseWorkerId('a1'.repeat(32)) as WorkerId
const bob = parseWorkerId('b0'.repeat(32)) as WorkerId
const order: RunOrder = {
  kind: 'chat',
  model: 'demo',
  digest: null,
  choice: 0,
  seed: '00'.repeat(32),
  maxTokens: 64,
  resume: [],
  deadlineMs: 60_000,
  body: Buffer.from('{"model":"demo"}'),
  papers: { assignment: Buffer.from('assignment'), salt: Buffer.alloc(32), order: null },
}
const revoked: Refusal = { code: 'worker_revoked', message: 'Revoked.', fix: 'Renew it.' }

let runtime: SimulatedRuntime
let workers: Workers
let news: string[]

beforeEach(() => {
  runtime = simulatedRuntime(1)
  news = []
  workers = new Workers({
    runtime,
    onAvailable: (worker) => news.push(`available ${worker.id.slice(0, 2)}`),
    onChanged: (worker) => news.push(`changed ${worker.id.slice(0, 2)}`),
    onGone: (id, reason) => news.push(`gone ${id.slice(0, 2)}: ${reason}`),
    violated: (_, violation) => news.push(`violated: ${violation.message}`),
    contested: (id, outcome) => news.push(`second session of ${id.slice(0, 2)} ${outcome}`),
  })
})
afterEach(() => workers.close())

const approved = (more: Partial<Admission> = {}): Admission => {
  return { standing: 'approved', expiresAt: null, operator: 'op', ...more }
}

async function join(id = alice, admission = approved()): Promise<{ worker: RawWorker; pair: SessionPair }> {
  const pair = sessionPair(id)
  workers.attach(pair.pool, admission)
  const worker = new RawWorker(pair.worker).hello()
  await runtime.pass(0)
  return { worker, pair }
}

function dispatch(more: Partial<RunOrder> = {}, id = alice) {
  const sink = new RunRecorder()
  return { sink, handle: workers.dispatch(id, { ...order, ...more }, sink) }
}

describe('coming', () => {
  test('an approved worker is welcomed and may be used', async () => {
    const { worker } = await join()
    const welcome = { standing: 'approved', worker: alice, expiresAt: null, heartbeatMs: 5_000 }
    expect(worker.all('welcome')).toEqual([{ say: 'welcome', welcome }])
    expect(news).toEqual(['available a1'])
    expect(workers.list()).toHaveLength(1)
    expect(workers.show(alice).worker).toMatchObject({ operator: 'op', slots: 2, active: 0, agent: 'raw/1' })
  })

  test('a pending worker waits, and works as soon as somebody approves it', async () => {
    const { worker } = await join(alice, approved({ standing: 'pending' }))
    expect(news).toEqual([])
    const early = dispatch()
    await runtime.pass(0)
    expect(early.sink.last).toEqual(['lost: it is not connected'])

    const expiresAt = new Date(runtime.now() + 86_400_000)
    workers.standingChanged(alice, approved({ expiresAt }))
    workers.standingChanged(alice, approved({ expiresAt: new Date(expiresAt) }))
    await runtime.pass(0)
    expect(news).toEqual(['available a1'])
    expect(worker.all('welcome').map(({ welcome }) => [welcome.standing, welcome.expiresAt])).toEqual([
      ['pending', null],
      ['approved', expiresAt.toISOString()],
    ])
  })

  test('a worker that says nothing for 5 s is sent away', async () => {
    const pair = sessionPair(alice)
    workers.attach(pair.pool, approved())
    const worker = new RawWorker(pair.worker)
    await runtime.pass(workersLimits.helloMsMax + workersLimits.sweepMs)
    expect(worker.refusedWith).toBe('auth_deadline')
    expect(pair.worker.closedWith?.code).toBe(4408)
    expect(workers.size).toBe(0)
  })

  test('an approval between handshake and session is not forgotten, a revocation neither', async () => {
    workers.standingChanged(alice, approved())
    await join(alice, approved({ standing: 'pending' }))
    expect(news).toEqual(['available a1'])

    workers.disconnect(bob, revoked)
    const { worker } = await join(bob)
    expect(worker.refusedWith).toBe('worker_revoked')
    await runtime.pass(workersLimits.standingMemoryMs + workersLimits.sweepMs)
    expect((await join(bob)).worker.refusedWith).toBeUndefined()
  })

  test('a changed offer reaches the scheduler', async () => {
    const { worker } = await join()
    worker.session.send(messageType.offer, encodeHello({ agent: 'raw/1', features: [], slots: 9, models: [] }))
    await runtime.pass(0)
    expect(news).toEqual(['available a1', 'changed a1'])
    expect(workers.show(alice).worker).toMatchObject({ slots: 9, offers: [] })
  })
})

describe('staying', () => {
  test('a worker that answers pings stays for an hour', async () => {
    const { worker } = await join()
    await runtime.pass(3_600_000)
    expect(workers.size).toBe(1)
    expect(worker.all('ping').length).toBeGreaterThan(3_600 / 5 / 1.1)
  })

  test('a silent worker is lost within 10 s, and its run with it, once', async () => {
    const { pair } = await join()
    const { sink } = dispatch()
    await runtime.pass(0)
    pair.silence()
    await runtime.pass(9_000)
    expect(workers.size).toBe(1)
    await runtime.pass(1_000)
    expect(news).toEqual(['available a1', 'gone a1: worker_lost'])
    expect(sink.last).toEqual(['lost: worker_lost'])
  })

  test('a closed socket is lost at once, before its runs hear of it', async () => {
    const { pair } = await join()
    const sink = new RunRecorder()
    const before: string[] = []
    sink.lost = () => before.push(...news)
    workers.dispatch(alice, order, sink)
    pair.cut()
    expect(before).toEqual(['available a1', 'gone a1: its connection closed: connection lost'])
  })

  test('a pool that was asleep does not blame its workers', async () => {
    const { worker } = await join()
    const slow = runtime.monotonic
    runtime.monotonic = () => slow() + 60_000 // the process was stopped; the sweep runs before any message is read
    await runtime.pass(workersLimits.sweepMs)
    expect(workers.size).toBe(1)
    expect(worker.refusedWith).toBeUndefined()
  })

  test('a key that expires while its worker computes ends the session within 1 s', async () => {
    const { worker } = await join(alice, approved({ expiresAt: new Date(runtime.now() + 3_000) }))
    const { sink } = dispatch()
    await runtime.pass(2_900)
    expect(sink.last).toEqual([])
    await runtime.pass(1_000)
    expect(sink.last).toEqual(['lost: worker_expired'])
    expect(worker.refusedWith).toBe('worker_expired')
  })

  test('a renewed key outlives its first expiry', async () => {
    await join(alice, approved({ expiresAt: new Date(runtime.now() + 3_000) }))
    workers.standingChanged(alice, approved({ expiresAt: new Date(runtime.now() + 60_000) }))
    await runtime.pass(10_000)
    expect(workers.size).toBe(1)
  })

  test('a revoked worker is told why and its runs go back at once', async () => {
    const { worker, pair } = await join()
    const { sink } = dispatch()
    await runtime.pass(0)
    expect(workers.disconnect(alice, revoked)).toBe(true)
    expect(sink.last).toEqual(['lost: worker_revoked'])
    await runtime.pass(0)
    expect(worker.refusedWith).toBe('worker_revoked')
    expect(pair.worker.closedWith).toEqual({ code: 4403, reason: 'worker_revoked' })
    expect(workers.disconnect(alice, revoked)).toBe(false)
  })

  test('a draining worker finishes and gets nothing new', async () => {
    const { worker } = await join()
    const first = dispatch()
    await runtime.pass(0)
    worker.session.send(messageType.drain)
    await runtime.pass(0)
    expect(news).toEqual(['available a1', 'changed a1'])
    expect(workers.show(alice).worker?.draining).toBe(true)
    const second = dispatch()
    worker.end(first.sink.last.length + 1)
    await runtime.pass(0)
    expect([first.sink.last, second.sink.last]).toEqual([['end stop'], ['failed overloaded, retry']])
  })

  test('an operator drains a worker and takes it back', async () => {
    await join()
    workers.drain(alice)
    expect(workers.show(alice).worker?.draining).toBe(true)
    workers.drain(alice, false)
    expect(workers.show(alice).worker?.draining).toBe(false)
    expect(news).toEqual(['available a1', 'changed a1', 'changed a1'])
    expect(workers.drain(bob)).toBe(false)
  })

  test('a pool that stops says so to all', async () => {
    const { worker, pair } = await join()
    const { sink } = dispatch()
    workers.close()
    await runtime.pass(0)
    expect([worker.refusedWith, pair.worker.closedWith?.code]).toEqual(['shutting_down', 1001])
    expect(sink.last).toEqual(['lost: shutting_down'])
    expect(runtime.timers).toBe(0)
  })
})

describe('a second session of one key', () => {
  test('is refused while the first answers', async () => {
    const { worker: first } = await join()
    const { worker: second, pair } = await join()
    expect(second.refusedWith).toBe('session_exists')
    expect(pair.worker.closedWith?.code).toBe(4409)
    expect(first.refusedWith).toBeUndefined()
    expect(news).toEqual(['available a1', 'second session of a1 refused'])
  })

  test('takes the place of a first that does not answer within 1 s', async () => {
    const { worker: first } = await join()
    first.awake = false
    const { sink } = dispatch()
    const { worker: second } = await join()
    await runtime.pass(workersLimits.contestMsMax - 1)
    expect([second.all('welcome').length, sink.last]).toEqual([0, []])
    await runtime.pass(1)
    expect(first.refusedWith).toBe('session_replaced')
    expect(sink.last).toEqual(['lost: session_replaced'])
    expect(second.all('welcome')).toHaveLength(1)
    expect(news).toEqual(['available a1', 'second session of a1 replaced', 'gone a1: session_replaced', 'available a1'])
  })

  test('does not take the place of a first whose answer a sleeping pool has not read', async () => {
    const { worker: first } = await join()
    first.awake = false
    const { worker: second } = await join()
    const clock = runtime.monotonic
    runtime.monotonic = () => clock() + 3_000
    await runtime.pass(workersLimits.contestMsMax)
    expect([first.refusedWith, second.refusedWith]).toEqual([undefined, undefined])
    first.beat()
    await runtime.pass(0)
    expect([first.refusedWith, second.refusedWith]).toEqual([undefined, 'session_exists'])
  })

  test('enters at once when the first ends while it is asked', async () => {
    const { worker: first, pair } = await join()
    first.awake = false
    const { worker: second } = await join()
    pair.cut()
    await runtime.pass(0)
    expect(second.all('welcome')).toHaveLength(1)
    expect(workers.size).toBe(1)
  })

  test('a third is refused while the second waits, and a second that gives up changes nothing', async () => {
    const { worker: first } = await join()
    first.awake = false
    const { worker: second, pair } = await join()
    expect((await join()).worker.refusedWith).toBe('session_exists')
    pair.worker.close(1001, 'gone')
    await runtime.pass(workersLimits.contestMsMax)
    expect(second.all('welcome')).toEqual([])
    expect(first.refusedWith).toBeUndefined()
  })

  test('learns of an approval and of a revocation while it waits', async () => {
    const { worker: first } = await join(alice, approved({ standing: 'pending' }))
    first.awake = false
    const { worker: second } = await join(alice, approved({ standing: 'pending' }))
    workers.standingChanged(alice, approved())
    await runtime.pass(workersLimits.contestMsMax)
    expect(second.all('welcome').map(({ welcome }) => welcome.standing)).toEqual(['approved'])

    second.awake = false
    const { worker: third } = await join()
    workers.disconnect(alice, revoked)
    await runtime.pass(0)
    expect([second.refusedWith, third.refusedWith]).toEqual(['worker_revoked', 'worker_revoked'])
    expect(workers.size).toBe(0)
  })
})

describe('a run', () => {
  test('reaches the worker with its body and comes back token by token', async () => {
    const { worker } = await join()
    const { sink } = dispatch({ lease: 'attempt-1', resume: [4, 5], digest: 'ab'.repeat(32) })
    await runtime.pass(0)
    const [sent] = worker.all('dispatch')
    expect(sent?.body.toString()).toBe('{"model":"demo"}')
    const { body: _, papers: __, ...fields } = order
    const own = { lease: 'attempt-1', resume: [4, 5], digest: 'ab'.repeat(32), stream: 1, credit: 65_536 }
    expect(sent?.header).toMatchObject({ ...fields, ...own })
    worker.tokens(1, 'hel', 'lo')
    worker.tokens(1, '!')
    worker.end(1, { promptTokens: 9, completionTokens: 3 })
    await runtime.pass(0)
    expect([sink.text, sink.last]).toEqual(['hello!', ['end stop']])
    expect(sink.ended).toEqual({ finish: 'stop', promptTokens: 9, completionTokens: 3 })
    expect(workers.show(alice).worker?.active).toBe(0)
  })

  test('never more at once than the worker has slots', async () => {
    const { worker } = await join()
    const [, , third] = [dispatch(), dispatch(), dispatch()]
    await runtime.pass(0)
    expect(worker.dispatched).toHaveLength(2)
    expect(third?.sink.last).toEqual(['failed overloaded, retry'])
  })

  test('waits for the slot of a cancelled one, and starts when the worker let go of it', async () => {
    const { worker } = await join()
    const [first] = [dispatch(), dispatch()]
    await runtime.pass(0)
    first?.handle.cancel()
    const third = dispatch()
    await runtime.pass(500)
    expect(worker.all('cancel').map(({ stream }) => stream)).toEqual([1])
    expect(worker.dispatched).toHaveLength(2)
    worker.tokens(1, 'late')
    worker.end(1)
    await runtime.pass(0)
    expect(worker.dispatched.map(({ stream, deadlineMs }) => [stream, deadlineMs])).toEqual([
      [1, 60_000],
      [2, 60_000],
      [3, 59_500],
    ])
    expect([first?.sink.text, first?.sink.last, third.sink.last]).toEqual(['', [], []])
  })

  test('does not wait long: another worker may be free', async () => {
    await join()
    const [first] = [dispatch(), dispatch()]
    await runtime.pass(0)
    first?.handle.cancel()
    const third = dispatch()
    await runtime.pass(workersLimits.slotWaitMsMax + workersLimits.sweepMs)
    expect(third.sink.last).toEqual(['failed overloaded, retry'])
  })

  test('a worker that never lets go of a cancelled run is cut off', async () => {
    const { worker } = await join()
    const { handle } = dispatch()
    await runtime.pass(0)
    handle.cancel()
    handle.cancel()
    await runtime.pass(workersLimits.stopMsMax + workersLimits.sweepMs)
    expect(worker.refusedWith).toBe('protocol_violation')
    expect(worker.all('cancel')).toHaveLength(1)
  })

  test('ends at its deadline even if the worker does not', async () => {
    const { worker } = await join()
    const { sink } = dispatch({ deadlineMs: 1_000 })
    await runtime.pass(1_000 + workersLimits.sweepMs)
    expect(sink.last).toEqual(['failed deadline_exceeded'])
    expect(worker.all('cancel')).toHaveLength(1)
    worker.end(1)
    await runtime.pass(0)
    expect(sink.last).toHaveLength(1)
    expect(workers.show(alice).worker?.active).toBe(0)
  })

  test('goes back when its worker failed, and not when the request was at fault', async () => {
    const { worker } = await join()
    const [broken, wrong] = [dispatch(), dispatch()]
    await runtime.pass(0)
    const failed = { retry: false, message: 'own words', fix: 'own fix', param: 'tools' }
    worker.session.send(messageType.failed, encodeFailed({ ...failed, stream: 1, code: 'internal_error' }))
    worker.session.send(messageType.failed, encodeFailed({ ...failed, stream: 2, code: 'unsupported_parameter' }))
    await runtime.pass(0)
    expect([broken?.sink.last, wrong?.sink.last]).toEqual([
      ['failed upstream_error, retry'],
      ['failed unsupported_parameter'],
    ])
    expect(broken?.sink.refusal?.message).not.toContain('own words')
    expect(wrong?.sink.refusal).toMatchObject({ message: 'own words', param: 'tools' })
  })

  test('carries embeddings and tool calls', async () => {
    const { worker } = await join()
    const [embedding, chat] = [dispatch({ kind: 'embedding', maxTokens: 0 }), dispatch()]
    await runtime.pass(0)
    worker.session.send(messageType.vector, encodeVector(1, 0, Float32Array.of(1, 2)))
    worker.session.send(messageType.delta, encodeDelta(2, { tool_calls: [] }))
    await runtime.pass(0)
    expect(embedding?.sink.vectors).toEqual([{ index: 0, values: Float32Array.of(1, 2) }])
    expect(chat?.sink.deltas).toEqual([{ tool_calls: [] }])
  })

  test('too large for one message is refused without asking the worker', async () => {
    const { worker } = await join()
    const resume = Array.from({ length: 1_000_000 }, (_, i) => 4_000_000_000 + i)
    const { sink } = dispatch({ resume, maxTokens: 2_000_000 })
    await runtime.pass(0)
    expect([sink.last, worker.dispatched]).toEqual([['failed context_length_exceeded'], []])
  })

  test('for a worker that is not here is lost, unless it was cancelled first', async () => {
    const [absent, cancelled] = [dispatch({}, bob), dispatch({}, bob)]
    cancelled?.handle.cancel()
    expect(absent?.sink.last).toEqual([])
    await runtime.pass(0)
    expect([absent?.sink.last, cancelled?.sink.last]).toEqual([['lost: it is not connected'], []])
  })

  test('is lost exactly once even if it was waiting for a slot', async () => {
    const { pair } = await join()
    const running = [dispatch(), dispatch()]
    await runtime.pass(0)
    running[0]?.handle.cancel()
    const waiting = dispatch()
    pair.cut()
    await runtime.pass(60_000)
    const words = [...running, waiting].map(({ sink }) => sink.last.length)
    expect(words).toEqual([0, 1, 1])
  })
})

describe('credit', () => {
  const kilobyte = 'x'.repeat(1_024)
  const window = workersLimits.creditBytes

  test('a short answer costs no credit message; a long one is given back as it is read', async () => {
    const { worker } = await join()
    const { sink, handle } = dispatch({ maxTokens: 10_000 })
    await runtime.pass(0)
    for (let sent = 0; sent < 200; sent++) {
      worker.tokens(1, kilobyte)
      await runtime.pass(0)
      handle.consumed(1_024)
      if (sent === 10) expect(worker.all('credit')).toEqual([])
    }
    expect(sink.text).toHaveLength(200 * 1_024)
    expect(worker.all('credit').length).toBeGreaterThan(5)
    expect(sink.last).toEqual([])
  })

  test('nothing comes back while nobody reads, and a worker that sends on is cut', async () => {
    const { worker } = await join()
    const { sink } = dispatch({ maxTokens: 10_000 })
    await runtime.pass(0)
    const messages = Math.ceil(window / (1_024 + 10))
    for (let i = 0; i < messages; i++) worker.tokens(1, kilobyte)
    await runtime.pass(0)
    expect([worker.all('credit'), sink.last]).toEqual([[], []])
    worker.tokens(1, 'one more')
    await runtime.pass(0)
    expect(worker.refusedWith).toBe('protocol_violation')
    expect(sink.last).toEqual(['lost: protocol_violation'])
  })

  test('a cancelled run gets no more credit: a worker that ignores the cancel is cut', async () => {
    const { worker } = await join()
    const { handle, sink } = dispatch({ maxTokens: 100_000 })
    await runtime.pass(0)
    handle.cancel()
    for (let i = 0; i < 65; i++) {
      worker.tokens(1, kilobyte)
      handle.consumed(1_024)
    }
    await runtime.pass(0)
    expect([worker.refusedWith, sink.text]).toEqual(['protocol_violation', ''])
  })

  test('tokens without text are never held against the worker', async () => {
    const { worker } = await join()
    const { sink } = dispatch({ maxTokens: 100_000 })
    await runtime.pass(0)
    for (let i = 0; i < 20; i++) {
      worker.tokens(1, ...Array(1_000).fill(''))
      await runtime.pass(0)
    }
    expect([sink.ids.length, worker.refusedWith]).toEqual([20_000, undefined])
  })
})

describe('a worker that breaks the rules is cut off and remembered', () => {
  const offences: [string, (worker: RawWorker) => void][] = [
    ['writes on a stream that is not its own', (worker) => worker.tokens(99, 'x')],
    ['ends a run twice', (worker) => [worker.end(1), worker.end(1)]],
    ['greets twice', (worker) => worker.hello()],
    [
      'sends a vector as a chat answer',
      (worker) => worker.session.send(messageType.vector, encodeVector(1, 0, Float32Array.of(1))),
    ],
    ['sends bytes that are no message', (worker) => worker.session.send(messageType.tokens, Buffer.of(1))],
    ['speaks with the voice of a pool', (worker) => worker.session.send(messageType.ping)],
    [
      'sends endless deltas',
      (worker) => {
        const delta = encodeDelta(1, { content: 'x'.repeat(400_000) })
        for (let i = 0; i < 11; i++) worker.session.send(messageType.delta, delta)
      },
    ],
  ]
  test.each(offences)('%s', async (_, offend) => {
    const { worker, pair } = await join()
    dispatch()
    await runtime.pass(0)
    offend(worker)
    await runtime.pass(0)
    expect(worker.refusedWith).toBe('protocol_violation')
    expect(pair.worker.closedWith?.code).toBe(4400)
    expect(workers.show(alice).violations).toHaveLength(1)
    expect(workers.size).toBe(0)
  })

  test('offers more models than it may, in its first word: it never was here', async () => {
    const pair = sessionPair(alice)
    workers.attach(pair.pool, approved())
    const model = { ...demoOffer, digest: null }
    const models = Array.from({ length: protocolLimits.modelsPerWorkerMax + 1 }, (_, n) => ({
      ...model,
      name: `m${n}`,
    }))
    const worker = new RawWorker(pair.worker).hello({ models })
    await runtime.pass(0)
    expect(worker.refusedWith).toBe('protocol_violation')
    expect(pair.worker.closedWith?.code).toBe(4400)
    expect(news.filter((line) => !line.startsWith('violated'))).toEqual([])
    expect(workers.list()).toEqual([])
  })

  test('says anything before hello', async () => {
    const pair = sessionPair(alice)
    workers.attach(pair.pool, approved())
    const worker = new RawWorker(pair.worker)
    worker.beat()
    await runtime.pass(0)
    expect(worker.refusedWith).toBe('protocol_violation')
  })

  test('more tokens than max_tokens: the answer is cut there and counted there', async () => {
    const { worker } = await join()
    const { sink } = dispatch({ maxTokens: 5, resume: [1, 2] })
    await runtime.pass(0)
    worker.tokens(1, 'a', 'b', 'c', 'd')
    await runtime.pass(0)
    expect([sink.text, sink.last]).toEqual(['abc', ['end length']])
    expect(sink.ended?.completionTokens).toBe(3)
    expect(worker.all('cancel')).toHaveLength(1)
    expect(news.at(-1)).toContain('max_tokens')
    worker.tokens(1, 'e')
    worker.end(1)
    await runtime.pass(0)
    expect([sink.text, sink.last.length, worker.refusedWith]).toEqual(['abc', 1, undefined])
  })
})

describe('speed', () => {
  test('is what was relayed over the time in which there was work', async () => {
    const { worker } = await join()
    expect(workers.show(alice).worker?.tokensPerSecond).toBe(0)
    await runtime.pass(60_000)
    dispatch({ maxTokens: 1_000 })
    for (let i = 0; i < 100; i++) {
      await runtime.pass(50)
      worker.tokens(1, 'x')
    }
    worker.end(1)
    await runtime.pass(60_000)
    expect(workers.show(alice).worker?.tokensPerSecond).toBeCloseTo(20, 0)
  })
})
