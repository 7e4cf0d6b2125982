import { afterAll, beforeAll, expect, test } from 'vitest'
import { noTokenId } from '#protocol'
import { systemRuntime } from '#runtime'
import { emptyAnswer, SmallChecks, type SmallOpinion, smallFile, smallWorker } from '../testkit/small-checks.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import { RateTable } from './rates.ts'

let home: TestDatabase
let town: SmallChecks
beforeAll(async () => {
  home = await testDatabase()
  town = await SmallChecks.open(home.database)
})
afterAll(async () => {
  await town?.[Symbol.asyncDispose]()
  await home?.drop()
})

const idOf = (model: string, name: string) => smallWorker(model, name).id

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
     where worker_id = ${idOf(model, name)} and model = ${model} and duty = ${duty}`
  return row
}

const hit = () => 'hit' as const
const clean = () => 'clean' as const

test('an answer computed alone is computed again on the same arithmetic; one that differs there too freezes its worker at once', async () => {
  town.join('exact', { ann: hit, bob: hit, cid: hit, dan: hit }, { ann: 'k1', bob: 'k1', cid: 'k2', dan: 'k2' })
  const job = await town.answered('exact', { decode: 'isolated', kernel: 'k1' })
  expect(await ended(job)).toBe('hit')
  const [first, second, ...more] = await looksAt(job)
  expect([first?.purpose, second?.purpose, more]).toEqual(['first', 'second', []])
  expect([idOf('exact', 'ann'), idOf('exact', 'bob')]).toContain(second?.verifier)
  expect(town.asked.filter(({ replay }) => replay === 'isolated').map(({ worker }) => worker)).toEqual([
    second?.verifier,
  ])
  const mallory = idOf('exact', 'mallory')
  await expect.poll(() => town.done.includes(`slash ${mallory}`), { timeout: 20_000 }).toBe(true)
  expect(town.done.indexOf(`freeze ${mallory}`)).toBeGreaterThanOrEqual(0)
  expect(town.done.indexOf(`freeze ${mallory}`)).toBeLessThan(town.done.indexOf(`slash ${mallory}`))
})

test('a friend with the same arithmetic clears nobody: a third decides, and the friend takes the hit', async () => {
  const friend: SmallOpinion = (ask) => (ask.replay === 'isolated' ? 'clean' : 'hit')
  const people = { ann: friend, bob: friend, cid: hit, dan: hit }
  town.join('friend', people, { ann: 'k1', bob: 'k1', cid: 'k2', dan: 'k2' })
  const job = await town.answered('friend', { decode: 'isolated', kernel: 'k1' })
  expect(await ended(job)).toBe('hit')
  const looks = await looksAt(job)
  expect(looks.map(({ says }) => says).sort()).toEqual(['clean', 'hit', 'hit'])
  const overruled = looks.find(({ says }) => says === 'clean')
  expect((await phaseOf('friend', overruled?.operator ?? '', 'verify'))?.hits).toBe(1)
  expect((await phaseOf('friend', 'mallory', 'serve'))?.phase).toBe('paused')
})

test('a batched answer is never replayed: two more look at a hit, and who accused alone takes it', async () => {
  let accusers = 0
  const once: SmallOpinion = () => (accusers++ === 0 ? 'hit' : 'clean')
  town.join('batched', { ann: once, bob: once, cid: once, dan: once }, { ann: 'k1', bob: 'k1', cid: 'k1', dan: 'k1' })
  const before = town.asked.length
  const job = await town.answered('batched', { kernel: 'k1' })
  expect(await ended(job)).toBe('clean')
  expect(town.asked.slice(before).map(({ replay }) => replay)).toEqual(['prefill', 'prefill', 'prefill'])
  const looks = await looksAt(job)
  expect(new Set(looks.map(({ operator }) => operator)).size).toBe(3)
  expect((await phaseOf('batched', looks[0]?.operator ?? '', 'verify'))?.hits).toBe(1)
  expect(await phaseOf('batched', 'mallory', 'serve')).toMatchObject({ phase: 'probation', hits: 0 })
})

test('what no second worker may see is looked at by the pool’s own engine only', async () => {
  town.join('private', { ann: hit, bob: hit, cid: hit })
  const request = { kind: 'chat', model: 'private', needs: [], privacy: 'single-exposure' }
  expect(town.checks.intake.whyUnchecked(request)).toBe('single_exposure')
  town.join('private', { self: clean })
  expect(town.checks.intake.whyUnchecked(request)).toBeUndefined()
  expect(town.checks.intake.whyUnchecked({ ...request, privacy: 'paranoid' })).toBe('privacy')
  const jobs = await Promise.all(Array.from({ length: 12 }, () => town.answered('private', { poolOnly: true })))
  for (const job of jobs) expect(await ended(job)).toBe('clean')
  const seen = town.asked.filter(({ worker }) => ['ann', 'bob', 'cid'].some((name) => worker === idOf('private', name)))
  expect(seen).toEqual([])
})

test('without an engine of its own a pool sends answers that are known to be good or bad all the same', async () => {
  const isReversed: SmallOpinion = (ask) => (ask.tokens[0]?.id === 4 ? 'hit' : 'clean')
  town.join('known', { ann: isReversed, bob: isReversed, cid: isReversed })
  // Newcomers are checked always. One in ten brings one of each kind: of 100 none does so with a chance below 10⁻⁴.
  const jobs: string[] = []
  for (let n = 0; n < 100; n++) jobs.push(await town.answered('known', {}, `newcomer ${n}`))
  for (const job of jobs) expect(await ended(job)).toBe('clean')
  const kinds = async () => {
    const rows = await home.sql<{ purpose: string; says: string }[]>`
      select distinct l.purpose, l.says from looks l join checks c on c.id = l.check_id
       where c.model = 'known' and l.purpose like 'known%' order by 1, 2`
    return rows.map(({ purpose, says }) => `${purpose} ${says}`)
  }
  // A known good answer is vouched for by the first that is drawn, and goes with a later one.
  for (let n = 0; n < 100 && (await kinds()).length < 2; n++) await ended(await town.answered('known', {}, `late ${n}`))
  await expect.poll(kinds, { timeout: 20_000 }).toEqual(['known_bad hit', 'known_good clean'])
  for (const name of ['ann', 'bob', 'cid']) expect((await phaseOf('known', name, 'verify'))?.hits ?? 0).toBe(0)
})

test('verifiers that have the model from an upstream are sent known answers, too; one is wrong only where another says so', async () => {
  const isReversed: SmallOpinion = (ask) => (ask.tokens[0]?.piece.toString() === 'd' ? 'hit' : 'clean')
  const people = { ann: isReversed, bob: isReversed, cid: isReversed, stamp: () => 'clean' as const }
  town.join('far', people, {}, null)
  // Somebody finds even words in another order likely, and so do others: that is the answer's doing.
  town.join('vague', { ann: clean, bob: clean, cid: clean }, {}, null)
  const tokens = ['a', 'b', 'c', 'd'].map((piece) => ({ id: noTokenId, piece: Buffer.from(piece) }))
  const answer = { digest: null, tokens, body: Buffer.from('{"temperature":0}') }
  const sent = async (model: string) => {
    const rows = await home.sql<{ purpose: string; n: number }[]>`
      select l.purpose, count(*)::int as n from looks l join checks c on c.id = l.check_id
       where c.model = ${model} and l.purpose like 'known%' group by 1`
    return Object.fromEntries(rows.map(({ purpose, n }) => [purpose, n]))
  }
  const stamped = async () => (await phaseOf('far', 'stamp', 'verify'))?.hits ?? 0
  for (let n = 0; n < 12; n++) {
    const jobs: string[] = []
    for (const model of ['far', 'vague']) {
      for (let m = 0; m < 40; m++) jobs.push(await town.answered(model, answer, `newcomer ${n} ${m}`))
    }
    for (const job of jobs) expect(await ended(job)).toBe('clean')
    const [far, vague] = [await sent('far'), await sent('vague')]
    if (far.known_bad && far.known_good && vague.known_bad && (await stamped()) > 0) break
  }
  expect(await sent('far')).toEqual({ known_bad: expect.any(Number), known_good: expect.any(Number) })
  expect(await sent('vague')).toMatchObject({ known_bad: expect.any(Number) })
  expect(await stamped()).toBeGreaterThan(0)
  for (const name of ['ann', 'bob', 'cid']) {
    expect((await phaseOf('far', name, 'verify'))?.hits ?? 0).toBe(0)
    expect((await phaseOf('vague', name, 'verify'))?.hits ?? 0).toBe(0)
  }
})

test('a check whose process died is taken over once its lease is over; one whose verifier goes is made by another', async () => {
  const dead = await town.answered('left', {})
  await expect
    .poll(async () => {
      // Nobody can look as yet, so it lies there between two tries, and now it is another process's.
      const rows = await home.sql`
        update checks set state = 'committed', verifier = ${idOf('left', 'gone')}, instance = gen_random_uuid(),
               leased_until = now() + interval '3 s'
         where job_id = ${dead} and state = 'owed' and leased_until is not null returning id`
      return rows.length
    })
    .toBe(1)
  const [lease] = await home.sql<{ until: number }[]>`select leased_until as until from checks where job_id = ${dead}`
  let leaving: string | undefined
  const goes = (name: string) => () => {
    if (leaving !== undefined && leaving !== name) return 'clean' as const
    leaving = name
    town.checks.workerGone(idOf('left', name))
    throw new Error('its line was cut')
  }
  town.join('left', { ann: goes('ann'), bob: goes('bob') })
  expect(await ended(dead)).toBe('clean')
  const looks = await home.sql<{ verifier: string; at: number }[]>`
    select l.verifier, l.at from looks l join checks c on c.id = l.check_id where c.job_id = ${dead} and l.purpose = 'first'`
  expect(looks.map(({ verifier }) => verifier)).toEqual([idOf('left', leaving === 'ann' ? 'bob' : 'ann')])
  expect(looks[0]?.at).toBeGreaterThanOrEqual(lease?.until ?? Number.POSITIVE_INFINITY)
})

test('of answers that nobody picked one in 500 goes to the pool’s own engine once more, where it has one', () => {
  town.join('again', { self: clean, ann: clean })
  town.join('alone', { ann: clean, bob: clean })
  const picked = (model: string) => {
    const at = systemRuntime.now()
    const workerId = idOf(model, 'mallory')
    const sampling = { ...town.checks.intake.sample(at), rates: new RateTable([[workerId, model, 0]]) }
    const given = {
      choice: 0,
      attempt: 0,
      workerId,
      digest: smallFile(model),
      unfit: null,
      answer: () => emptyAnswer(model),
    }
    const settled = Array.from({ length: 6_000 }, (_, n) => {
      const segments = [{ ...given, statement: Buffer.from(`${model} ${n} ${at}`) }]
      const parts = town.checks.intake.settle({
        jobId: systemRuntime.uuid(),
        model,
        sampling,
        at,
        unchecked: null,
        segments,
      })
      return parts.length > 0
    })
    return settled.filter(Boolean).length
  }
  // 12 are expected; beyond these bounds lies a chance of about 10⁻⁵.
  expect(picked('again')).toBeGreaterThan(0)
  expect(picked('again')).toBeLessThan(32)
  expect(picked('alone')).toBe(0)
})

test('a worker that is reset while its tribunal waits for judges keeps nobody else from being checked', async () => {
  const people = { ann: hit, bob: hit }
  town.join('waiting', people, { ann: 'k1', bob: 'k1' })
  const mallory = idOf('waiting', 'mallory')
  expect(await ended(await town.answered('waiting', { decode: 'isolated', kernel: 'k1' }))).toBe('hit')
  await expect.poll(() => town.done.includes(`freeze ${mallory}`), { timeout: 20_000 }).toBe(true)
  // the call comes behind the freeze
  const called = () => home.sql`select outcome from tribunals where model = 'waiting'`
  await expect.poll(called, { timeout: 20_000 }).toEqual([{ outcome: null }])
  await town.reset('waiting', 'mallory')
  town.join('waiting', { cid: hit })
  const job = await town.answered('waiting', { decode: 'isolated', kernel: 'k1' }, 'trent')
  expect(await ended(job)).toBe('hit')
  await expect.poll(() => town.done.includes(`slash ${idOf('waiting', 'trent')}`), { timeout: 20_000 }).toBe(true)
  expect(town.done).not.toContain(`slash ${mallory}`)
  expect(await phaseOf('waiting', 'mallory', 'serve')).toBeUndefined()
  const tribunals = () => home.sql`select outcome from tribunals where model = 'waiting' order by called_at`
  await expect.poll(tribunals, { timeout: 20_000 }).toEqual([{ outcome: 'void' }, { outcome: 'hit' }])
})

test('a conviction pays back what was found false since the last fresh start, before it and after it, and looks at all that is kept', async () => {
  const mallory = idOf('twice', 'mallory')
  let opinion: 'hit' | 'clean' = 'hit'
  const asNow = () => opinion
  const refunds = () => town.refunds.filter(({ worker }) => worker === mallory).map(({ jobs }) => jobs)
  const alone = { decode: 'isolated', kernel: 'k1' } as const
  const people = { ann: asNow, bob: asNow, cid: asNow, dan: asNow }
  const unseen = await town.answered('twice', alone)
  await home.sql`update checks set owed_at = owed_at - interval '1 hour' where job_id = ${unseen}`
  expect(await ended(unseen)).toBe('waived')
  town.join('twice', people, { ann: 'k1', bob: 'k1', cid: 'k1', dan: 'k1' })
  const first = await town.answered('twice', alone)
  expect(await ended(first)).toBe('hit')
  await expect.poll(refunds, { timeout: 20_000 }).toEqual([[unseen, first].sort()])
  const later = await town.answered('twice', alone)
  expect(await ended(later)).toBe('hit')
  await expect.poll(refunds, { timeout: 20_000 }).toEqual([[unseen, first].sort(), [unseen, first, later].sort()])

  await town.reset('twice', 'mallory')
  opinion = 'clean'
  const praised = await town.answered('twice', alone)
  expect(await ended(praised)).toBe('clean')
  opinion = 'hit'
  const second = await town.answered('twice', alone)
  expect(await ended(second)).toBe('hit')
  // the answer that was found clean is looked at once more; what came before the fresh start is not paid back again
  await expect.poll(() => refunds().at(-1), { timeout: 20_000 }).toEqual([praised, second].sort())
  const seen = await home.sql<{ job: string }[]>`
    select distinct c.job_id as job from looks l join checks c on c.id = l.check_id
     where c.worker_id = ${mallory} and l.purpose = 'window'`
  expect(seen.map(({ job }) => job).sort()).toEqual([unseen, praised].sort())
})
