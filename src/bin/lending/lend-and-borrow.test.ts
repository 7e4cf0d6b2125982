import http from 'node:http'
import net from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { JobLender, OfferedModels } from '#api'
import { sha256 } from '#crypto'
import { federationLimits, jobPath, type LentFrame, writeFrame } from '#federation'
import { executorPrices, Ledger } from '#ledger'
import { decodeSigned, type PoolId, SegmentHash, TokenBatch } from '#protocol'
import { type Runtime, systemRuntime } from '#runtime'
import { offerOf, ScriptedJobs, tokenOf, toyDigest } from '../../testkit/api-double.ts'
import { FederatedPool, loopbackHosts } from '../../testkit/federated-pool.ts'
import { freePort } from '../../testkit/free-port.ts'
import { RunRecorder } from '../../testkit/run-recorder.ts'
import { type PapersOptions, withPapers } from '../../testkit/with-papers.ts'
import { type BorrowDeps, borrowRun } from './borrow-run.ts'
import { lendingBooks } from './lending-books.ts'

const prices = { prompt: 100n, completion: 400n }
const words = ['The ', 'answer ', 'is ', '42', '.']
const batchOf = (texts: readonly string[]) => TokenBatch.of(texts.map((text) => tokenOf(text)))
let anna: FederatedPool
let bert: FederatedPool
let jobs: ScriptedJobs
let lends = true
let forged: string[] = []
let unreached: string[] = []
let refused: string[] = []
let leases = 0

beforeAll(async () => {
  ;[anna, bert] = await Promise.all([FederatedPool.open('anna'), FederatedPool.open('bert')])
  await anna.federation.office.add(bert.url)
  for (const [one, other] of [
    [anna, bert],
    [bert, anna],
  ] as const)
    await one.federation.office.promote(other.id, 2, 'owner.key')
  jobs = new ScriptedJobs()
  const models = new OfferedModels(systemRuntime)
  models.put({ id: 'ff'.repeat(32) as never, draining: false, offers: [offerOf('toy', ['chat'], toyDigest)] })
  const ledger = new Ledger(bert.db.database, systemRuntime)
  const isSoon = (ms: number) => (ms === federationLimits.lentAliveMs ? 20 : ms)
  const lender = new JobLender({
    jobs,
    models,
    runtime: { ...systemRuntime, after: (ms, act, how) => systemRuntime.after(isSoon(ms), act, how) },
    pool: bert.identity,
    poolId: bert.id,
    lends: () => lends,
    prices: async () => prices,
    executorPrices,
    books: lendingBooks({ database: bert.db.database, runtime: systemRuntime, ledger, creditLimit: 100_000n }),
  })
  bert.federation.serve(jobPath, { trustMin: 2, bucket: 'jobs', reply: (heard, signal) => lender.reply(heard, signal) })
})
beforeEach(() => {
  jobs.script = (job) => {
    job.sink.pieces?.(0, batchOf(words))
    job.sink.choiceEnd(0, 'stop')
    job.sink.end({ promptTokens: 7, completionTokens: words.length })
  }
})
afterEach(() => {
  lends = true
  forged = []
  unreached = []
  refused = []
})
afterAll(async () => {
  await Promise.all([anna, bert].map((pool) => pool[Symbol.asyncDispose]()))
})

const body = Buffer.from('{"model":"toy","messages":[{"role":"user","content":"hi"}],"max_tokens":20,"stream":true}')
const deps = (): BorrowDeps => ({
  outbound: anna.federation.outbound,
  self: anna.id,
  onSent: () => {},
  onEnded: () => {},
  onForged: (_, why) => forged.push(why),
  onUnreached: (_, why) => unreached.push(why),
  onRefused: (_, why) => refused.push(why),
})

function order(wrong: PapersOptions['wrong'] = {}, lease = ++leases) {
  const asked = {
    kind: 'chat' as const,
    model: 'toy',
    digest: toyDigest,
    choice: 0,
    seed: '0f'.repeat(32),
    maxTokens: 20,
    resume: [],
    deadlineMs: 20_000,
    body,
    lease: `00000000-0000-4000-8000-${String(lease).padStart(12, '0')}`,
  }
  const now = systemRuntime.now()
  return withPapers(asked, { pool: anna.identity, worker: bert.id, now, wrong: { prices, ...wrong } })
}

function borrow(asked = order(), callee = bert.as(2)) {
  const sink = new RunRecorder()
  const run = borrowRun(deps(), { id: callee.known.id, callee, bridge: anna.identity }, asked, sink)
  return { run, sink }
}

test('a job is computed elsewhere piece by piece, and the other pool signs for all of it', async () => {
  const asked = order()
  const { sink } = borrow(asked)
  expect(await sink.over).toBe('end stop')
  expect([sink.text, sink.ended]).toEqual([
    'The answer is 42.',
    { finish: 'stop', promptTokens: 7, completionTokens: 5 },
  ])
  const statement = decodeSigned(sink.statement ?? Buffer.alloc(0), 'worker-statement/1')
  const assignment = decodeSigned(asked.papers.assignment, 'assignment/1')
  if (!statement.ok || !assignment.ok) throw new Error('papers')
  const hash = new SegmentHash()
  hash.add(batchOf(words))
  const { message, signature } = statement.signed
  expect(message).toMatchObject({
    tokens: 5,
    sent: hash.digest(),
    assignment: assignment.signed.hash,
    sampler: 'sampler/1',
  })
  expect(sha256(signature.key).toString('hex')).toBe(bert.id)
  const { request } = jobs.last
  expect(request).toMatchObject({
    model: 'toy',
    digest: toyDigest,
    forwardable: false,
    assignedSeed: Buffer.alloc(32, 15),
  })
  expect(request.key).toMatchObject({ account: `peer:${anna.id}`, lent: { prices: { prompt: 80n, completion: 320n } } })
})

test('what the assignment does not say is not computed', async () => {
  const before = jobs.all.length
  const wrong: PapersOptions['wrong'][] = [
    { worker: Buffer.from(anna.id, 'hex') },
    { pool: Buffer.from(bert.id, 'hex') },
    { commitment: Buffer.alloc(32) },
    { expires: 1 },
    { prices: { prompt: 99n, completion: 400n } },
    { kind: 'completion' },
    { prefixTokens: 1, prefix: Buffer.alloc(32) },
  ]
  for (const one of wrong) expect(await borrow(order(one)).sink.over).toBe('failed upstream_error, retry')
  expect(jobs.all).toHaveLength(before)
})

test('the same request is computed once', async () => {
  const asked = order()
  expect(await borrow(asked).sink.over).toBe('end stop')
  const again = borrow(asked).sink
  expect(await again.over).toBe('failed upstream_error, retry')
  expect(again.refusal?.message).toContain('409')
})

test('a pool that owes too much is lent nothing, and a refused job owes nothing', async () => {
  const big = Buffer.from(body.toString().replace('"max_tokens":20', '"max_tokens":40000'))
  const asked = withPapers(
    { ...order(), body: big, maxTokens: 40_000 },
    { pool: anna.identity, worker: bert.id, now: systemRuntime.now(), wrong: { prices } },
  )
  const { sink } = borrow(asked)
  expect(await sink.over).toBe('failed upstream_error, retry')
  expect(sink.refusal?.message).toContain('402')
  expect(await borrow().sink.over).toBe('end stop')
})

test('a full pool is asked again, and one that lends nothing is not', async () => {
  jobs.refusals.push({ code: 'queue_full', message: 'Full.', fix: 'Later.' })
  expect(await borrow().sink.over).toBe('failed overloaded, retry')
  lends = false
  expect(await borrow().sink.over).toBe('failed upstream_error, retry')
})

test('whoever takes a job says so before the first token, and that it is still there', async () => {
  jobs.script = () => {}
  const asked = order()
  const opened = await anna.federation.outbound.open(bert.as(2), {
    method: 'POST',
    target: jobPath,
    hop: 1,
    chain: [anna.id],
    body: {
      origin_pool_id: anna.id,
      origin_request_id: asked.lease,
      kind: 'chat',
      body: asked.body.toString('base64'),
      assignment: asked.papers.assignment.toString('base64'),
      salt: asked.papers.salt.toString('base64'),
      deadline_ms: 20_000,
    },
  })
  if (!opened.ok) throw new Error(opened.message)
  let text = ''
  for await (const piece of opened.pieces) {
    text += piece.toString()
    if (text.length > 60) break
  }
  expect(text).toMatch(/^(data: \{"tokens":\[\]\}\n\n){3}/)
  const last = jobs.last
  await expect.poll(() => last.cancelled).toBe(true)
})

test('a pool that begins no answer is given up after a while, not at the end of the request', async () => {
  const swallows = net.createServer((socket) => socket.on('error', () => {}).resume())
  await new Promise<void>((resolve) => swallows.listen(0, '127.0.0.1', resolve))
  const host = `127.0.0.1:${(swallows.address() as net.AddressInfo).port}`
  loopbackHosts.push(host)
  const isSoon = (ms: number) => (ms === federationLimits.lentHeadMsMax ? 20 : ms)
  const runtime = { ...systemRuntime, after: (ms, act, how) => systemRuntime.after(isSoon(ms), act, how) } as Runtime
  await using dora = await FederatedPool.open('dora', { runtime })
  const sink = new RunRecorder()
  const callee = { ...bert.as(2), url: `http://${host}` }
  borrowRun(
    { ...deps(), outbound: dora.federation.outbound },
    { id: bert.id, callee, bridge: dora.identity },
    order(),
    sink,
  )
  expect(await sink.over).toBe('failed upstream_error, retry')
  expect([sink.refusal?.message, unreached]).toEqual([
    expect.stringContaining('No answer has begun'),
    [expect.stringContaining('No answer has begun')],
  ])
  swallows.close()
})

test('that nobody is reached is told apart from a refusal, and only the first is held against it', async () => {
  const nobody = { ...bert.as(2), url: `http://127.0.0.1:${await freePort()}` }
  loopbackHosts.push(new URL(nobody.url).host)
  const lost = borrow(order(), nobody).sink
  expect(await lost.over).toBe('failed upstream_error, retry')
  expect([lost.blameless, unreached.length, refused]).toEqual([false, 1, []])
  lends = false
  const shut = borrow().sink
  expect(await shut.over).toBe('failed upstream_error, retry')
  expect([shut.blameless, unreached.length, refused]).toEqual([true, 1, ['It answered 503: accept_forwarding is off']])
  lends = true
  // another price would be taken
  const cheap = borrow(order({ prices: { prompt: 99n, completion: 400n } })).sink
  expect(await cheap.over).toBe('failed upstream_error, retry')
  expect([cheap.blameless, unreached.length, refused.length]).toEqual([true, 1, 1])
  anna.kill()
  const own = borrow().sink
  expect(await own.over).toBe('failed federation_off, retry')
  expect([own.blameless, unreached.length]).toEqual([true, 1])
  anna.kill(false)
})

test('a job that fails over there fails here at once, to be tried elsewhere', async () => {
  jobs.script = (job) => {
    job.sink.pieces?.(0, batchOf(['The ']))
    job.sink.failed({ code: 'worker_lost', message: 'Gone.', fix: 'Again.' })
  }
  const { sink } = borrow()
  expect(await sink.over).toBe('failed upstream_error, retry')
  expect(sink.text).toBe('The ')
})

test('whoever leaves, switches federation off or revokes ends the job over there', async () => {
  jobs.script = (job) => job.sink.pieces?.(0, batchOf(['The ']))
  const left = borrow()
  await expect.poll(() => left.sink.text).toBe('The ')
  const first = jobs.last
  left.run.cancel()
  await expect.poll(() => first.cancelled).toBe(true)
  const cut = borrow()
  await expect.poll(() => cut.sink.text).toBe('The ')
  const second = jobs.last
  bert.kill()
  expect(await cut.sink.over).toMatch(/^lost/)
  await expect.poll(() => second.cancelled).toBe(true)
  bert.kill(false)
  const ours = borrow()
  await expect.poll(() => ours.sink.text).toBe('The ')
  anna.kill()
  expect(await ours.sink.over).toBe('lost: Federation is switched off here.')
  anna.kill(false)
})

test('an answer that is not signed, was changed, or broke off is taken for what it is', async () => {
  let answer: (out: http.ServerResponse) => void = () => {}
  const dave = http.createServer((_, out) => answer(out.writeHead(200, { 'content-type': 'text/event-stream' })))
  await new Promise<void>((resolve) => dave.listen(0, '127.0.0.1', resolve))
  const { port } = dave.address() as { port: number }
  loopbackHosts.push(`127.0.0.1:${port}`)
  const callee = { ...bert.as(2), url: `http://127.0.0.1:${port}` }
  const end: LentFrame = { end: { finish: 'stop', promptTokens: 1, completionTokens: 1, statement: Buffer.alloc(1) } }
  const tokens = writeFrame({ tokens: [{ id: 1, piece: Buffer.from('lies') }] })
  const forgeries: [string, Buffer[]][] = [
    ['broke off without a signature', [tokens, writeFrame(end)]],
    [
      'is not signed',
      [tokens, writeFrame(end), Buffer.from(`event: signature\ndata: ${Buffer.alloc(64).toString('base64')}\n\n`)],
    ],
    ['went on after the end', [writeFrame(end), tokens]],
    ['an event that no lent answer has', [Buffer.from('data: {"tokens":"all"}\n\n')]],
    ['an event that no lent answer has', [writeFrame({ tokens: [{ id: 1, piece: Buffer.alloc(65_536) }] })]],
    ['an event that no lent answer has', [writeFrame({ tokens: [{ id: 0xffff_fffe, piece: Buffer.from('{}') }] })]],
  ]
  for (const [why, parts] of forgeries) {
    answer = (out) => out.end(Buffer.concat(parts))
    expect(await borrow(order(), callee).sink.over).toContain(why)
  }
  expect(forged).toHaveLength(forgeries.length)
  answer = (out) => {
    out.write(tokens)
    setTimeout(() => out.destroy(), 50)
  }
  expect(await borrow(order(), callee).sink.over).toMatch(/^lost/)
  expect(forged).toHaveLength(forgeries.length)
  dave.closeAllConnections()
  dave.close()
})

test('a pool that is no longer trusted with jobs has none', async () => {
  await bert.federation.office.demote(anna.id, 1, 'owner.key')
  const { sink } = borrow()
  expect(await sink.over).toBe('failed upstream_error, retry')
  expect(sink.refusal?.message).toContain('403')
  expect(bert.federation.peers.get(anna.id as PoolId)?.trust).toBe(1)
})
