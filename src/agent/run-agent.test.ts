import { existsSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { encodeInvite } from '#identity'
import type { Refusal, WorkerId } from '#protocol'
import { systemRuntime } from '#runtime'
import {
  type OpenDoor,
  openDoor,
  PacedEngine,
  type PacedEngineOptions,
  RunRecorder,
  temporaryFolder,
  withPapers,
} from '#testkit'
import type { Admission, RunOrder } from '#workers'
import { type AgentEnd, type AgentStatus, runAgent } from './index.ts'

const runtime = systemRuntime
const token = Buffer.alloc(32, 7)
const order: Omit<RunOrder, 'papers'> = {
  kind: 'chat',
  model: 'demo',
  digest: null,
  choice: 0,
  seed: '0f'.repeat(32),
  maxTokens: 1_000,
  resume: [],
  deadlineMs: 60_000,
  body: Buffer.from('{"model":"demo","messages":[{"role":"user","content":"hi"}],"stream":true}'),
}
const invited: Refusal = { code: 'worker_unknown', message: 'Unknown worker.', fix: 'Ask for an invite.' }
const revoked: Refusal = { code: 'worker_revoked', message: 'Revoked.', fix: 'Ask an operator.' }

let folder: ReturnType<typeof temporaryFolder>
let standings: Map<WorkerId, Admission>
let door: OpenDoor
let agents: Agent[]

/** A small identity: whoever shows the token is pending, whoever is known has its standing. */
function admit(peer: { id: WorkerId; token?: Buffer }) {
  const known = standings.get(peer.id)
  if (known) return { ok: true as const, ...known }
  if (!peer.token?.equals(token)) return { ok: false as const, refusal: invited }
  const standing: Admission = { standing: 'pending', expiresAt: null, operator: 'ann' }
  standings.set(peer.id, standing)
  return { ok: true as const, ...standing }
}

function approve(id: WorkerId): void {
  const standing: Admission = { standing: 'approved', expiresAt: null, operator: 'ann' }
  standings.set(id, standing)
  door.workers.standingChanged(id, standing)
}

/** A worker program's life, and what it said of itself. */
class Agent {
  readonly said: AgentStatus[] = []
  readonly engine: PacedEngine
  readonly stop = new AbortController()
  readonly stopNow = new AbortController()
  readonly end: Promise<AgentEnd>

  constructor(options: { invite?: string; dataDir: string } & Partial<PacedEngineOptions>) {
    const { invite, dataDir, ...engine } = options
    this.engine = new PacedEngine({ runtime, pieces: ['a', 'b', 'c'], ...engine })
    this.end = runAgent({
      invite,
      dataDir,
      engines: [this.engine],
      agent: 'lichen/test',
      runtime,
      log: { info: () => {}, warn: () => {} },
      signal: this.stop.signal,
      stopNow: this.stopNow.signal,
      onStatus: (status) => this.said.push(status),
    })
    agents.push(this)
  }

  /** The next time it says that it is in this state, the past included. */
  async until<S extends AgentStatus['state']>(state: S, from = 0): Promise<Extract<AgentStatus, { state: S }>> {
    for (;;) {
      const found = this.said.slice(from).find((status) => status.state === state)
      if (found) return found as Extract<AgentStatus, { state: S }>
      await runtime.sleep(5)
    }
  }
}

beforeEach(async () => {
  folder = temporaryFolder()
  standings = new Map()
  agents = []
  door = await openDoor({ admit })
})
afterEach(async () => {
  for (const agent of agents) {
    agent.stop.abort()
    agent.stopNow.abort()
    await agent.end.catch(() => {})
  }
  await door[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

const dataDir = (name = 'worker') => path.join(folder.path, name)
const invite = () => encodeInvite({ url: door.url, poolId: door.poolId, token })

async function join(more: Partial<PacedEngineOptions> = {}) {
  const agent = new Agent({ invite: invite(), dataDir: dataDir(), ...more })
  const { worker } = await agent.until('pending')
  approve(worker as WorkerId)
  await agent.until('ready')
  return { agent, id: worker as WorkerId }
}

function dispatch(id: WorkerId, more: Partial<RunOrder> = {}) {
  const sink = new RunRecorder()
  const run = withPapers({ ...order, ...more }, { pool: door.pool, worker: id, now: runtime.now() })
  return { sink, handle: door.workers.dispatch(id, run, sink) }
}

test('an invited worker waits for approval, is approved while connected, and answers', async () => {
  const agent = new Agent({ invite: invite(), dataDir: dataDir() })
  const pending = await agent.until('pending')
  expect(pending.approve).toBe(`lichen workers approve ${pending.worker}`)
  approve(pending.worker as WorkerId)
  const ready = await agent.until('ready')
  expect(ready).toMatchObject({ worker: pending.worker, models: ['demo'] })
  const { sink } = dispatch(pending.worker as WorkerId)
  expect([await sink.over, sink.text]).toEqual(['end stop', 'abc'])
})

test('its keys and membership are for its own eyes, and the one-time token is not kept', async () => {
  const { agent, id } = await join()
  agent.stop.abort()
  expect(await agent.end).toEqual({ reason: 'stopped' })
  for (const name of ['worker.key', 'session.key', 'membership.json']) {
    expect(statSync(path.join(dataDir(), name)).mode & 0o777).toBe(0o600)
  }
  const membership = readFileSync(path.join(dataDir(), 'membership.json'), 'utf8')
  expect(JSON.parse(membership)).toEqual({ url: door.url, poolId: door.poolId, worker: id })
})

test('started again it needs no invite', async () => {
  const { agent, id } = await join()
  agent.stop.abort()
  await agent.end
  const again = new Agent({ dataDir: dataDir() })
  expect((await again.until('ready')).worker).toBe(id)
})

test('a worker that has joined no pool says so, and one invited elsewhere too', async () => {
  await expect(new Agent({ dataDir: dataDir() }).end).rejects.toMatchObject({ code: 'config_invalid' })
  await expect(new Agent({ dataDir: dataDir(), invite: 'lichen1_x' }).end).rejects.toMatchObject({
    code: 'invite_invalid',
  })
  const { agent } = await join()
  agent.stop.abort()
  await agent.end
  const elsewhere = encodeInvite({ url: door.url, poolId: 'ee'.repeat(32) as never, token })
  await expect(new Agent({ dataDir: dataDir(), invite: elsewhere }).end).rejects.toMatchObject({ code: 'conflict' })
})

test('a wrong token and a wrong pool end it with a sentence', async () => {
  const wrongToken = encodeInvite({ url: door.url, poolId: door.poolId, token: Buffer.alloc(32) })
  const end = await new Agent({ invite: wrongToken, dataDir: dataDir('a') }).end
  expect(end).toMatchObject({ reason: 'refused', why: { code: 'worker_unknown', fix: invited.fix } })
  const wrongPool = encodeInvite({ url: door.url, poolId: 'ee'.repeat(32) as never, token })
  expect(await new Agent({ invite: wrongPool, dataDir: dataDir('b') }).end).toMatchObject({
    why: { code: 'wrong_pool' },
  })
})

test('revoked in the middle of an answer: its run goes back at once, and it does not knock again', async () => {
  const { agent, id } = await join({ pieces: Array(1_000).fill('x'), everyMs: 5 })
  const { sink } = dispatch(id)
  while (sink.text.length < 3) await runtime.sleep(5)
  door.workers.disconnect(id, revoked)
  expect(await sink.over).toBe('lost: worker_revoked')
  expect(await agent.end).toMatchObject({ reason: 'refused', why: { code: 'worker_revoked' } })
  const { given } = agent.engine
  await runtime.sleep(50)
  expect(agent.engine.given).toBe(given)
})

test('a pool that goes away and comes back finds its worker again', async () => {
  const { agent, id } = await join()
  const { pool, port } = door
  await door[Symbol.asyncDispose]()
  const from = agent.said.length
  await agent.until('waiting')
  door = await openDoor({ admit, pool, port })
  await agent.until('ready', from)
  const { sink } = dispatch(id)
  expect([await sink.over, sink.text]).toEqual(['end stop', 'abc'])
})

test('told to stop it finishes what runs; told twice it leaves at once', async () => {
  const first = await join({ pieces: Array(20).fill('x'), everyMs: 5 })
  const run = dispatch(first.id)
  while (run.sink.text === '') await runtime.sleep(5)
  first.agent.stop.abort()
  expect([await first.agent.end, await run.sink.over]).toEqual([{ reason: 'stopped' }, 'end stop'])
  expect(first.agent.said).toContainEqual({ state: 'draining', running: 1 })

  const second = new Agent({ dataDir: dataDir(), pieces: Array(10_000).fill('x'), everyMs: 5 })
  await second.until('ready')
  const endless = dispatch(first.id)
  while (endless.sink.text === '') await runtime.sleep(5)
  second.stop.abort()
  second.stopNow.abort()
  expect(await second.end).toEqual({ reason: 'stopped' })
  expect(await endless.sink.over).toMatch(/^lost: /)
})

test('a worker that dies in the middle of an answer is lost at once, and another goes on from its tokens', async () => {
  const pieces = Array.from({ length: 30 }, (_, i) => `${i} `)
  const first = await join({ pieces, everyMs: 5 })
  const other = new Agent({ invite: invite(), dataDir: dataDir('other'), pieces })
  approve((await other.until('pending')).worker as WorkerId)
  const { worker } = await other.until('ready')
  const begun = dispatch(first.id).sink
  while (begun.ids.length < 5) await runtime.sleep(5)
  first.agent.stopNow.abort()
  expect(await begun.over).toMatch(/^lost: /)
  const rest = dispatch(worker as WorkerId, { resume: begun.ids }).sink
  expect([await rest.over, begun.text + rest.text]).toEqual(['end stop', pieces.join('')])
})

test('a second program with the same keys waits until the first is gone', async () => {
  const { agent, id } = await join()
  // it is written down after the welcome
  await expect.poll(() => existsSync(path.join(dataDir(), 'membership.json')), { timeout: 10_000 }).toBe(true)
  const second = new Agent({ dataDir: dataDir() })
  expect((await second.until('waiting')).why.code).toBe('session_exists')
  agent.stop.abort()
  await agent.end
  expect((await second.until('ready')).worker).toBe(id)
})

test('a cancelled answer stops at the next token, and its slot is free again', async () => {
  const { agent, id } = await join({ pieces: Array(1_000).fill('x'), everyMs: 5, slots: 1 })
  const { sink, handle } = dispatch(id)
  while (sink.text === '') await runtime.sleep(5)
  handle.cancel()
  const next = dispatch(id, { maxTokens: 2 })
  expect([await next.sink.over, next.sink.text]).toEqual(['end length', 'xx'])
  expect(agent.engine.given).toBeLessThan(100)
  expect(sink.last).toEqual([])
})

test('a megabyte reaches a slow reader whole, in order, and costs the worker no more than the window', async () => {
  const pieces = Array.from({ length: 1_000 }, (_, i) => String(i % 10).repeat(1_000))
  const { agent, id } = await join({ pieces })
  const { sink, handle } = dispatch(id)
  await runtime.sleep(200)
  expect(agent.engine.given).toBeLessThan(200)
  for (let read = 0; sink.last.length === 0; ) {
    const { length } = sink.text
    handle.consumed(length - read)
    read = length
    await runtime.sleep(1)
  }
  expect(sink.text).toBe(pieces.join(''))
  expect(sink.last).toEqual(['end stop'])
})

test('fifty answers at once, all whole', async () => {
  const pieces = Array.from({ length: 40 }, (_, i) => `${i} `)
  const { id } = await join({ pieces, everyMs: 1, slots: 50 })
  const runs = Array.from({ length: 50 }, () => dispatch(id).sink)
  await Promise.all(runs.map((sink) => sink.over))
  expect(new Set(runs.map((sink) => sink.text))).toEqual(new Set([pieces.join('')]))
})
