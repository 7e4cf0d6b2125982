import { afterAll, beforeAll, expect, test } from 'vitest'
import { sha256 } from '#crypto'
import { systemRuntime } from '#runtime'
import { part } from '#storage'
import { testPool } from '#testkit'
import { SmallPool } from '../testkit/small-pool.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import type { Acts } from './acts.ts'
import { type Checks, openChecks } from './open-checks.ts'
import { RateTable } from './rates.ts'
import { Standings } from './standings.ts'
import type { KeptAnswer } from './transcript.ts'
import type { LookAsk } from './verifiers.ts'

type Says = (ask: LookAsk) => 'clean' | 'hit'

let home: TestDatabase
let pool: SmallPool
let standings: Standings
let checks: Checks
/** What small verifiers say, and what they were asked. */
const opinions = new Map<string, Says>()
const kernels = new Map<string, string>()
const asked: { worker: string; replay: LookAsk['replay'] }[] = []
const done: string[] = []

const idOf = (name: string) => sha256(Buffer.from(name)).toString('hex')
const fileOf = (model: string) => sha256(Buffer.from(`file of ${model}`)).toString('hex')

/** Small verifiers: each says what it was told to, in the form of evidence. */
const verifiers = {
  check(worker: string, ask: LookAsk) {
    asked.push({ worker, replay: ask.replay })
    const margin = (opinions.get(worker) ?? (() => 'clean'))(ask) === 'hit' ? 3 : 0
    const positions = ask.tokens.map((_, position) => ({ position, margin }))
    const ending = { shown: 'length' as const, end: undefined }
    const seen = { promptTokens: 9, completionTokens: ask.tokens.length, wrongPieces: [], unknownAt: undefined }
    const bytes = Buffer.from(worker)
    return {
      committed: Promise.resolve({ wire: bytes }),
      reveal: async () => ({ evidence: { ...seen, positions, ending }, bytes }),
    }
  },
}

const act = (name: string) => async (about: { workerId: string }) => {
  done.push(`${name} ${about.workerId}`)
}
const acts: Acts = {
  pauseReleases: act('pause'),
  resumeReleases: act('resume'),
  freeze: act('freeze'),
  slash: act('slash'),
  refundUsers: act('refund'),
  blockOperator: act('block'),
}

beforeAll(async () => {
  home = await testDatabase()
  const { database } = home
  pool = await SmallPool.open(database)
  standings = await Standings.open({ database, runtime: systemRuntime })
  checks = await openChecks({
    database,
    commit: pool.commit,
    runtime: systemRuntime,
    standings,
    verifiers,
    acts,
    pool: testPool,
    logStage: pool.log.stage,
    operatorOf: async () => undefined,
    kernelOf: (worker) => kernels.get(worker),
    events: {},
  })
})
afterAll(async () => {
  await checks?.[Symbol.asyncDispose]()
  standings?.[Symbol.dispose]()
  await pool?.[Symbol.asyncDispose]()
  await home?.drop()
})

/** Verifiers of one model, each of an operator of its own name. */
function join(model: string, people: Record<string, Says>, kernel: Record<string, string> = {}): void {
  for (const [name, says] of Object.entries(people)) {
    const id = idOf(`${model} ${name}`)
    opinions.set(id, says)
    if (kernel[name]) kernels.set(id, kernel[name])
    const offers = [{ name: model, digest: fileOf(model) }]
    checks.workerAvailable({ id, operator: name, features: ['verify'], offers, draining: false })
  }
}

const emptyAnswer = (model: string): KeptAnswer => ({
  kind: 'chat',
  model,
  digest: fileOf(model),
  choice: 0,
  seed: '00'.repeat(32),
  maxTokens: 4,
  contextTokens: 512,
  decode: 'batched',
  finish: 'length',
  promptClaim: 9,
  body: Buffer.from('{}'),
  tokens: [],
})

/** An answer of `mallory`, settled as jobs do it; the id of its job. */
async function answered(model: string, more: Partial<KeptAnswer> = {}, by = 'mallory'): Promise<string> {
  const jobId = systemRuntime.uuid()
  const at = systemRuntime.now()
  const answer = { ...emptyAnswer(model), tokens: [1, 2, 3, 4].map((id) => ({ id, piece: Buffer.from('a') })), ...more }
  const statement = systemRuntime.randomBytes(64)
  const segment = { choice: 0, attempt: 0, workerId: idOf(`${model} ${by}`), digest: fileOf(model), statement }
  const segments = [{ ...segment, unfit: null, answer: () => answer }]
  const sampling = checks.intake.sample(at)
  await pool.commit.submit([
    part(pool.log.stage, { kind: 'receipt', ref: jobId, data: Buffer.from(`receipt of ${jobId}`) }),
    ...checks.intake.settle({ jobId, model, sampling, at, unchecked: null, segments }),
  ])
  return jobId
}

async function stateOf(jobId: string): Promise<string | undefined> {
  const [row] = await home.sql<{ state: string }[]>`select state from checks where job_id = ${jobId}`
  return row?.state
}

const ended = async (jobId: string) => {
  await expect.poll(() => stateOf(jobId), { timeout: 20_000 }).toMatch(/clean|hit|waived/)
  return stateOf(jobId)
}

const looksAt = (jobId: string) => home.sql<{ purpose: string; verifier: string; operator: string; says: string }[]>`
  select l.purpose, l.verifier, l.operator, l.says from looks l join checks c on c.id = l.check_id
   where c.job_id = ${jobId} and l.purpose in ('first', 'second') order by l.at`

const phaseOf = async (model: string, name: string, duty: string) => {
  const [row] = await home.sql<{ phase: string; hits: number }[]>`
    select phase, posterior_hits as hits from standings
     where worker_id = ${idOf(`${model} ${name}`)} and model = ${model} and duty = ${duty}`
  return row
}

const hit = () => 'hit' as const
const clean = () => 'clean' as const

test('an answer computed alone is computed again on the same arithmetic; one that differs there too freezes its worker at once', async () => {
  join('exact', { ann: hit, bob: hit, cid: hit, dan: hit }, { ann: 'k1', bob: 'k1', cid: 'k2', dan: 'k2' })
  const job = await answered('exact', { decode: 'isolated', kernel: 'k1' })
  expect(await ended(job)).toBe('hit')
  const [first, second, ...more] = await looksAt(job)
  expect([first?.purpose, second?.purpose, more]).toEqual(['first', 'second', []])
  expect(kernels.get(second?.verifier ?? '')).toBe('k1')
  expect(asked.filter(({ replay }) => replay === 'isolated').map(({ worker }) => worker)).toEqual([second?.verifier])
  const mallory = idOf('exact mallory')
  await expect.poll(() => done.includes(`slash ${mallory}`), { timeout: 20_000 }).toBe(true)
  expect(done.indexOf(`freeze ${mallory}`)).toBeGreaterThanOrEqual(0)
  expect(done.indexOf(`freeze ${mallory}`)).toBeLessThan(done.indexOf(`slash ${mallory}`))
})

test('a friend with the same arithmetic clears nobody: a third decides, and the friend takes the hit', async () => {
  const friend: Says = (ask) => (ask.replay === 'isolated' ? 'clean' : 'hit')
  const people = { ann: friend, bob: friend, cid: hit, dan: hit }
  join('friend', people, { ann: 'k1', bob: 'k1', cid: 'k2', dan: 'k2' })
  const job = await answered('friend', { decode: 'isolated', kernel: 'k1' })
  expect(await ended(job)).toBe('hit')
  const looks = await looksAt(job)
  expect(looks.map(({ says }) => says).sort()).toEqual(['clean', 'hit', 'hit'])
  const overruled = looks.find(({ says }) => says === 'clean')
  expect((await phaseOf('friend', overruled?.operator ?? '', 'verify'))?.hits).toBe(1)
  expect((await phaseOf('friend', 'mallory', 'serve'))?.phase).toBe('paused')
})

test('a batched answer is never replayed: two more look at a hit, and who accused alone takes it', async () => {
  let accusers = 0
  const once: Says = () => (accusers++ === 0 ? 'hit' : 'clean')
  join('batched', { ann: once, bob: once, cid: once, dan: once }, { ann: 'k1', bob: 'k1', cid: 'k1', dan: 'k1' })
  const before = asked.length
  const job = await answered('batched', { kernel: 'k1' })
  expect(await ended(job)).toBe('clean')
  expect(asked.slice(before).map(({ replay }) => replay)).toEqual(['prefill', 'prefill', 'prefill'])
  const looks = await looksAt(job)
  expect(new Set(looks.map(({ operator }) => operator)).size).toBe(3)
  expect((await phaseOf('batched', looks[0]?.operator ?? '', 'verify'))?.hits).toBe(1)
  expect(await phaseOf('batched', 'mallory', 'serve')).toMatchObject({ phase: 'probation', hits: 0 })
})

test('what no second worker may see is looked at by the pool’s own engine only', async () => {
  join('private', { ann: hit, bob: hit, cid: hit })
  const request = { kind: 'chat', model: 'private', needs: [], privacy: 'single-exposure' }
  expect(checks.intake.whyUnchecked(request)).toBe('single_exposure')
  join('private', { self: clean })
  expect(checks.intake.whyUnchecked(request)).toBeUndefined()
  expect(checks.intake.whyUnchecked({ ...request, privacy: 'paranoid' })).toBe('privacy')
  const jobs = await Promise.all(Array.from({ length: 12 }, () => answered('private', { poolOnly: true })))
  for (const job of jobs) expect(await ended(job)).toBe('clean')
  const seen = asked.filter(({ worker }) => ['ann', 'bob', 'cid'].some((name) => worker === idOf(`private ${name}`)))
  expect(seen).toEqual([])
})

test('without an engine of its own a pool sends answers that are known to be good or bad all the same', async () => {
  const isReversed: Says = (ask) => (ask.tokens[0]?.id === 4 ? 'hit' : 'clean')
  join('known', { ann: isReversed, bob: isReversed, cid: isReversed })
  // One in ten brings one of each kind: of 100 none does so with a chance below 10⁻⁴.
  const jobs: string[] = []
  for (let n = 0; n < 100; n++) jobs.push(await answered('known'))
  for (const job of jobs) expect(await ended(job)).toBe('clean')
  const kinds = async () => {
    const rows = await home.sql<{ purpose: string; says: string }[]>`
      select distinct l.purpose, l.says from looks l join checks c on c.id = l.check_id
       where c.model = 'known' and l.purpose like 'known%' order by 1, 2`
    return rows.map(({ purpose, says }) => `${purpose} ${says}`)
  }
  // A known good answer is vouched for by the first that is drawn, and goes with a later one.
  for (let n = 0; n < 100 && (await kinds()).length < 2; n++) await ended(await answered('known'))
  await expect.poll(kinds, { timeout: 20_000 }).toEqual(['known_bad hit', 'known_good clean'])
  for (const name of ['ann', 'bob', 'cid']) expect((await phaseOf('known', name, 'verify'))?.hits ?? 0).toBe(0)
}, 60_000)

test('of answers that nobody picked one in 500 goes to the pool’s own engine once more, where it has one', () => {
  join('again', { self: clean, ann: clean })
  join('alone', { ann: clean, bob: clean })
  const picked = (model: string) => {
    const at = systemRuntime.now()
    const workerId = idOf(`${model} mallory`)
    const sampling = { ...checks.intake.sample(at), rates: new RateTable([[workerId, model, 0]]) }
    const given = {
      choice: 0,
      attempt: 0,
      workerId,
      digest: fileOf(model),
      unfit: null,
      answer: () => emptyAnswer(model),
    }
    const settled = Array.from({ length: 6_000 }, (_, n) => {
      const segments = [{ ...given, statement: Buffer.from(`${model} ${n} ${at}`) }]
      const parts = checks.intake.settle({ jobId: idOf(`${n}`), model, sampling, at, unchecked: null, segments })
      return parts.length > 0
    })
    return settled.filter(Boolean).length
  }
  // 12 are expected; beyond these bounds lies a chance of about 10⁻⁵.
  expect(picked('again')).toBeGreaterThan(0)
  expect(picked('again')).toBeLessThan(32)
  expect(picked('alone')).toBe(0)
})
