import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Identity, sha256 } from '#crypto'
import { type AssuranceLevel, decodeSigned, samplingCommitment, verifyReceipt } from '#protocol'
import { testPool } from '#testkit'
import { type Comparison, type MutualLook, TrustLogs } from '#verification'
import { signedLook } from '../testkit/signed-look.ts'
import { SmallPool, type SmallPoolOptions } from '../testkit/small-pool.ts'
import {
  answersIn,
  diesAfter,
  hangsAfter,
  type Plan,
  type SmallClient,
  type SmallRun,
  type SmallWorkerOptions,
  smallAnswer,
  smallPayer,
} from '../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import type { GivenAnswers } from '../verification/intake.ts'

let home: TestDatabase
beforeAll(async () => {
  home = await testDatabase()
})
afterAll(() => home.drop())

/** All small workers have one kernel class, unless a test says otherwise. */
const openPool = (options: SmallPoolOptions = {}) =>
  SmallPool.open(home.database, { kernelOf: () => 'avx2', ...options })
const answer = (tokens: number) => smallAnswer(tokens).join('')
const wants = (level: AssuranceLevel) => ({ assurance: { level, explicit: true }, maxTokens: 50, promptBytes: 20 })
const required = wants('required')

/** Answers in other words than everybody else. */
const lies: Plan = (run) => {
  run.say('trust ', 'me')
  run.end()
}

function joinAll(pool: SmallPool, plans: Record<string, Plan>, more: SmallWorkerOptions = {}) {
  return Object.entries(plans).map(([name, plan]) => pool.workers.join(name, { plan, ...more }))
}

async function statementOf(pool: SmallPool, client: SmallClient) {
  const file = await pool.receipt(client)
  expect(verifyReceipt(file, { poolKey: testPool.publicKey })).toMatchObject({ ok: true })
  return JSON.parse(file.toString()).view.statement
}

const decodeOf = (papers: { assignment: Buffer }) => {
  const decoded = decodeSigned(papers.assignment, 'assignment/1')
  return decoded.ok && decoded.signed.message.decode
}

test('two operators compute one answer, each alone in its context, and it is shown once they agree', async () => {
  await using pool = await openPool()
  const [ann, bob] = joinAll(pool, { ann: answersIn(8), bob: answersIn(8) })
  const client = await pool.ask({ ...required, stream: true })
  expect(client.handle?.assurance).toEqual({ asked: 'required', given: 'required', reason: null })
  expect(await client.ended).toMatchObject({ texts: [answer(8)], finishes: ['stop'], usage: { completionTokens: 8 } })
  const runs = [...(ann?.had ?? []), ...(bob?.had ?? [])]
  expect(runs.map((run) => decodeOf(run.order.papers))).toEqual(['isolated', 'isolated'])
  const statement = await statementOf(pool, client)
  expect(statement).toMatchObject({
    assurance: { asked: 'required', given: 'required', reason: null },
    evidence: 'exact',
    usage: { prompt: 6, completion: 16 },
    // twice 3 prompt tokens at 100 and 8 at 400 micro-credits
    price: '7000',
    segments: [
      { attempt: 0, tokens: 8, signed: true },
      { attempt: 1, tokens: 8, signed: true },
    ],
  })
  expect(new Set(statement.exposure)).toEqual(new Set([ann?.id, bob?.id]))
  for (const worker of [ann, bob]) {
    expect((await pool.ledger.balance(`held:${worker?.id}`)).posted).toBe(2_100n)
  }
})

test('nothing is shown before both are done, and then all at once', async () => {
  await using pool = await openPool()
  const computed = Promise.withResolvers<SmallRun>()
  const slow: Plan = async (run) => {
    await run.answer(4)
    computed.resolve(run)
  }
  const [quick] = joinAll(pool, { quick1: answersIn(4), slow1: slow })
  const client = await pool.ask({ ...required, stream: true })
  const run = await computed.promise
  await expect.poll(() => quick?.had[0]?.over).toBe(true)
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(client.texts).toEqual([])
  run.end()
  expect((await client.ended).texts).toEqual([answer(4)])
  const { acceptedAt, endedAt } = await statementOf(pool, client)
  expect(endedAt - acceptedAt).toBeGreaterThanOrEqual(499)
})

test('of two that differ a third operator decides; who was wrong is told and not paid', async () => {
  await using pool = await openPool()
  const [, liar] = joinAll(pool, { ann2: answersIn(6), liar2: lies })
  const third = pool.workers.join('cid2', { plan: answersIn(6) })
  const client = await pool.ask(required)
  expect((await client.ended).texts).toEqual([answer(6)])
  const statement = await statementOf(pool, client)
  expect(statement).toMatchObject({ usage: { completion: 12 }, assurance: { given: 'required' } })
  if (liar?.had.length) {
    expect(pool.eventsNamed('dissented')).toMatchObject([{ workerId: liar.id, exact: true, by: { length: 2 } }])
    expect(third.had).toHaveLength(1)
    expect(statement.segments).toHaveLength(3)
    await expect(pool.ledger.balance(`held:${liar.id}`)).rejects.toThrow()
  } else expect(pool.eventsNamed('dissented')).toEqual([])
})

test('a worker of an operator that computes already is never the second', async () => {
  await using pool = await openPool()
  joinAll(pool, { ann3: answersIn(3), annie3: answersIn(3) }, { operator: 'ann' })
  await expect(pool.ask(required)).rejects.toMatchObject({
    code: 'assurance_unavailable',
    message: expect.stringContaining('no_second_operator'),
  })
  const bob = pool.workers.join('bob3', { plan: answersIn(3) })
  for (let n = 0; n < 4; n++) expect((await (await pool.ask(required)).ended).texts).toEqual([answer(3)])
  expect(bob.had).toHaveLength(4)
})

test('where all differ, or nobody is left to decide, the request fails and nobody is paid', async () => {
  await using pool = await openPool()
  const other: Plan = (run) => {
    run.say('no, ', 'me')
    run.end()
  }
  joinAll(pool, { ann4: answersIn(2), liar4: lies })
  const undecided = await pool.ask(required)
  expect((await undecided.ended).refusal?.message).toContain('no_third_worker')
  pool.workers.join('liar5', { plan: other })
  const client = await pool.ask(required)
  expect(await client.ended).toMatchObject({ texts: [], refusal: { code: 'assurance_unavailable' } })
  const given = { asked: 'required', given: 'none', reason: 'assurance_unavailable' }
  expect(await statementOf(pool, client)).toMatchObject({ price: '0', state: 'failed', assurance: given })
  expect(pool.eventsNamed('dissented')).toEqual([])
})

test('a worker that dies, or does not sign, is replaced by one that begins anew', async () => {
  await using pool = await openPool()
  joinAll(pool, { ann6: answersIn(5), mute6: answersIn(5) }, { slots: 16 })
  const mute = pool.workers.join('mute7', { plan: answersIn(5), signs: false })
  const dying = pool.workers.join('dying7', { plan: diesAfter(3) })
  const clients = await Promise.all([1, 2, 3, 4].map(() => pool.ask(required)))
  for (const client of clients) {
    expect((await client.ended).texts).toEqual([answer(5)])
    const statement = await statementOf(pool, client)
    expect(statement).toMatchObject({ usage: { completion: 10 }, assurance: { given: 'required' } })
  }
  const runs = [...mute.had, ...dying.had].map((run) => run.order.resume)
  expect(runs.every((resume) => resume.length === 0)).toBe(true)
})

test('a worker that hangs ends with its deadline, and when all others are gone the request is told', async () => {
  await using pool = await openPool()
  const [, hanging] = joinAll(pool, { ann8: answersIn(2), hangs8: hangsAfter(1) })
  const late = await pool.ask({ ...required, deadlineMs: 700 })
  expect(await late.ended).toMatchObject({ texts: [], refusal: { code: 'deadline_exceeded' } })
  const before = hanging?.had.length ?? 0
  const client = await pool.ask(required)
  await expect.poll(() => hanging?.had.length).toBeGreaterThan(before)
  hanging?.die()
  expect((await client.ended).refusal).toMatchObject({ code: 'worker_lost' })
})

test('a client that leaves pays what was computed for it, on both sides', async () => {
  await using pool = await openPool()
  const both = joinAll(pool, { ann9: hangsAfter(4), bob9: hangsAfter(4) })
  const client = await pool.ask({ ...required, stream: true })
  await expect.poll(() => both.map(({ had }) => had[0]?.said)).toEqual([4, 4])
  client.handle?.cancel()
  const statement = await statementOf(pool, client)
  const given = { asked: 'required', given: 'none', reason: 'cancelled' }
  expect(statement).toMatchObject({ state: 'cancelled', usage: { completion: 8 }, assurance: given })
})

test('the budget bounds all copies: what one answer may cost is reserved k times, or the request refused', async () => {
  await using pool = await openPool()
  joinAll(pool, { ann10: answersIn(3), bob10: answersIn(3), cid10: answersIn(3) })
  // (20 + 16 prompt tokens) × 100 and 50 × 400 micro-credits are 23,600 for one copy
  const key = (budgetTotal: bigint) => smallPayer(`key-${budgetTotal}`, { budgetTotal, requiredWorkers: 3 })
  await expect(pool.ask({ ...required, key: key(70_799n) })).rejects.toMatchObject({ code: 'budget_exceeded' })
  const client = await pool.ask({ ...required, key: key(70_800n) })
  await client.ended
  expect(await statementOf(pool, client)).toMatchObject({ usage: { completion: 9 }, segments: { length: 3 } })
})

test('a deterministic answer needs two machines whose arithmetic is the same', async () => {
  const kernels = new Map<string, string>()
  await using pool = await openPool({ kernelOf: (id) => kernels.get(id) })
  const [ann, bob, cid] = joinAll(pool, { ann11: answersIn(4), bob11: lies, cid11: answersIn(4) })
  const refused = (reason: string) =>
    expect(pool.ask(wants('deterministic'))).rejects.toMatchObject({ message: expect.stringContaining(reason) })
  await refused('kernel_class_unknown')
  const measured = (id: string | undefined, kernel: string) => {
    kernels.set(id ?? '', kernel)
    pool.jobs.kernelsChanged((id ?? '') as never)
  }
  measured(ann?.id, 'avx2')
  measured(bob?.id, 'neon')
  await refused('no_same_class_pair')
  measured(cid?.id, 'avx2')
  const client = await pool.ask(wants('deterministic'))
  expect((await client.ended).texts).toEqual([answer(4)])
  expect(await statementOf(pool, client)).toMatchObject({ assurance: { given: 'deterministic' }, evidence: 'exact' })
  expect(bob?.had).toHaveLength(0)
})

test('every choice has its own pair', async () => {
  await using pool = await openPool()
  joinAll(pool, { ann12: answersIn(3), bob12: answersIn(3) }, { slots: 2 })
  const client = await pool.ask({ ...required, choices: 2 })
  expect(await client.ended).toMatchObject({ texts: [answer(3), answer(3)], finishes: ['stop', 'stop'] })
  const { segments, usage } = await statementOf(pool, client)
  expect(segments.map((one: { choice: number; attempt: number }) => [one.choice, one.attempt]).sort()).toEqual([
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
  ])
  expect(usage.completion).toBe(12)
})

test('whoever gave another answer than those beside it is looked at in any case, with its own answer only', async () => {
  const given: GivenAnswers[] = []
  const opening = Buffer.alloc(104)
  const sampling = { opening, commitment: samplingCommitment(opening) }
  // Only what jobs ask of it: what is sampled, and what they hand in.
  const checks = {
    sample: () => sampling,
    whyUnchecked: () => undefined,
    settle: (answers: GivenAnswers) => {
      given.push(answers)
      return []
    },
  }
  await using pool = await openPool({ checks: checks as never })
  const [, liar] = joinAll(pool, { ann13: diesAfter(2), liar13: lies, cid13: answersIn(6), dan13: answersIn(6) })
  for (let n = 0; n < 8 && given.flatMap(({ segments }) => segments).every(({ dissents }) => !dissents); n++) {
    const client = await pool.ask(required)
    expect((await client.ended).texts).toEqual([answer(6)])
    await pool.receipt(client)
  }
  const segments = given.flatMap((one) => one.segments).filter(({ statement }) => statement !== null)
  expect(segments.filter(({ dissents }) => dissents).map(({ workerId }) => workerId)).toEqual([liar?.id])
  for (const segment of segments) expect(segment.answer().tokens).toHaveLength(segment.workerId === liar?.id ? 2 : 6)
  const careful = await pool.ask({ ...required, privacy: 'paranoid' })
  await careful.ended
  await pool.receipt(careful)
  expect(given.at(-1)?.unchecked).toBe('privacy')
})

/** Says the same in the words of another arithmetic. */
const inDialect: Plan = (run) => {
  run.say('just ', 'so')
  run.end()
}
const dialect = 'just so'
const inThirdDialect: Plan = (run) => {
  run.say('quite ', 'so')
  run.end()
}
const honest = [dialect, 'quite so', answer(6)]

/** People who look at each other's answers: honest ones know all ways of saying it, others say what `opinions` holds. */
function looking(kernels: Map<string, string>, opinions = new Map<string, 'clean' | 'hit' | undefined>()) {
  const identities = new Map<string, Identity>()
  const looks: { readonly by: string; readonly text: string; readonly finish: string }[] = []
  const comparison: Pick<Comparison, 'isSameClass' | 'look'> = {
    isSameClass: (one, other) => kernels.get(one) !== undefined && kernels.get(one) === kernels.get(other),
    async look({ answer: { tokens, finish } }, by) {
      const text = Buffer.concat(tokens.map(({ piece }) => piece)).toString()
      looks.push({ by, text, finish })
      const says = opinions.has(by) ? opinions.get(by) : honest.includes(text) ? 'clean' : 'hit'
      return lookOf(identities.get(by), says)
    },
  }
  return { comparison, identities, looks, kernelOf: (id: string) => kernels.get(id) }
}

/** What somebody says, signed; nothing where it says nothing. */
function lookOf(identity: Identity | undefined, says: 'clean' | 'hit' | undefined): MutualLook {
  if (!identity) throw new Error('nobody of that name is here')
  const who = { verifier: identity.id, operator: 'its own', at: Date.now() }
  if (!says) return { ...who, says: 'waived', why: 'verifier_failed', score: null, commitment: null, evidence: null }
  const found = Buffer.from(says)
  const [why, score] = says === 'hit' ? ['mean', 1.5] : [null, 0.01]
  return { ...who, says, why, score, commitment: signedLook(identity, found), evidence: sha256(found) }
}

/** Everybody's arithmetic is another, and everybody is asked, whoever is quickest. */
async function dialects(plans: Record<string, Plan>, opinions: Record<string, 'clean' | 'hit' | undefined> = {}) {
  const [kernels, says] = [new Map<string, string>(), new Map<string, 'clean' | 'hit' | undefined>()]
  const { looks, identities, ...options } = looking(kernels, says)
  const pool = await SmallPool.open(home.database, options)
  const people = Object.entries(plans).map(([name, plan]) => {
    const person = pool.workers.join(name, { plan })
    identities.set(person.id, person.identity)
    kernels.set(person.id, `class of ${name}`)
    if (name in opinions) says.set(person.id, opinions[name])
    pool.jobs.kernelsChanged(person.id as never)
    return person
  })
  return { pool, people, looks, kernels }
}

test('on two arithmetics an answer is shown once each worker finds that the other’s is what its own model gives', async () => {
  const { pool, people, looks } = await dialects({ ann14: answersIn(6), neo14: inDialect })
  await using _ = pool
  await expect(pool.ask(wants('deterministic'))).rejects.toMatchObject({
    message: expect.stringContaining('no_same_class_pair'),
  })
  await expect(pool.ask({ ...required, needs: ['json_schema'] })).rejects.toMatchObject({ code: expect.any(String) })
  const client = await pool.ask(required)
  const { texts } = await client.ended
  expect([dialect, answer(6)]).toContain(texts[0])
  const [ann, neo] = people
  expect(new Set(looks)).toEqual(
    new Set([
      { by: ann?.id, text: dialect, finish: 'stop' },
      { by: neo?.id, text: answer(6), finish: 'stop' },
    ]),
  )
  expect(await statementOf(pool, client)).toMatchObject({
    assurance: { asked: 'required', given: 'required', reason: null },
    evidence: 'margin',
    usage: { completion: 8 },
  })
  expect(pool.eventsNamed('dissented')).toEqual([])
  for (const { id } of people) expect((await pool.ledger.balance(`held:${id}`)).posted).toBeGreaterThan(0n)

  const { checks } = await statementOf(pool, client)
  const found = { reason: 'side_by_side', outcome: 'clean', score: '0.010000' }
  expect(checks).toMatchObject([found, found])
  expect(new Set(checks.map(({ verifier }: { verifier: string }) => verifier))).toEqual(new Set([ann?.id, neo?.id]))
  const logs = new TrustLogs(home.database)
  expect(await logs.verifications({ worker: ann?.id, limit: 10 })).toMatchObject([
    { jobId: client.handle?.id, reason: 'side_by_side', state: 'clean', waived: null, verifier: neo?.id, score: 0.01 },
  ])
  for (const [edit, says] of looksEdited(client.handle?.id ?? '')) {
    expect(await pool.auditAfter(edit)).toMatch(says)
  }
  expect(await pool.auditAfter('select 1')).toBeUndefined()
})

/** What the superuser of the database might do, and what the audit says of it. */
function looksEdited(job: string): [edit: string, says: RegExp][] {
  const set = (change: string) => `update mutual_looks set ${change} where job_id = '${job}' and attempt = 0`
  const other = (what: string) => new RegExp(`^The receipt of job ${job} tells of ${what}\\.$`)
  const changed = other('a look of attempt 0/0 by worker [0-9a-f]+, and its row says something else')
  return [
    [set(`says = 'hit', why = 'mean'`), changed],
    [set('score = 0.02'), changed],
    [set(`model = 'another'`), changed],
    [set(`epoch = epoch + 1`), changed],
    [set(`worker_id = '${'ab'.repeat(32)}'`), changed],
    [set(`verifier = '${'ab'.repeat(32)}'`), other('a look of attempt 0/0 by worker [0-9a-f]+, which is gone')],
    [
      `update mutual_looks m set commitment = o.commitment from mutual_looks o
        where m.job_id = '${job}' and o.job_id = m.job_id and m.attempt = 0 and o.attempt = 1`,
      other('a look of attempt 0/0 by worker [0-9a-f]+, who has not signed for it'),
    ],
    [
      `delete from mutual_looks where job_id = '${job}' and attempt = 0`,
      other('2 looks side by side, and 1 are on record'),
    ],
    [
      `insert into mutual_looks select (jsonb_populate_record(m, jsonb_build_object('id', gen_random_uuid(), 'attempt', 7))).*
         from mutual_looks m where job_id = '${job}' and attempt = 0`,
      other('2 looks side by side, and 3 are on record'),
    ],
    [
      `insert into mutual_looks select (jsonb_populate_record(m, jsonb_build_object('id', gen_random_uuid(), 'job_id', gen_random_uuid()))).*
         from mutual_looks m where job_id = '${job}' and attempt = 0`,
      /^Look .* is at an answer of job .*, which has no receipt\.$/,
    ],
  ]
}

test('on three arithmetics the liar is outvoted, and so is whoever accuses everybody', async () => {
  for (const [name, plan, opinion] of [
    ['liar15', lies, 'clean'],
    ['accuser15', inThirdDialect, 'hit'],
  ] as const) {
    const plans = { [name]: plan, [`ann ${name}`]: answersIn(6), [`neo ${name}`]: inDialect }
    const { pool, people } = await dialects(plans, { [name]: opinion })
    await using _ = pool
    const [bad] = people
    for (let n = 0; n < 8 && bad?.had.length === 0; n++) await (await pool.ask(required)).ended
    const client = await pool.ask(required)
    const reply = await client.ended
    expect(reply.refusal).toBeUndefined()
    expect(honest).toContain(reply.texts[0])
    const dissents = pool.eventsNamed('dissented')
    expect(new Set(dissents.map(({ workerId }) => workerId))).toEqual(new Set(bad?.had.length ? [bad.id] : []))
    for (const dissent of dissents) expect(dissent).toMatchObject({ exact: false, by: { length: 2 } })
    const { checks, segments } = await statementOf(pool, client)
    expect(checks).toHaveLength(segments.length === 3 ? 6 : 2)
    const hits = checks.filter(({ outcome }: { outcome: string }) => outcome === 'hit')
    expect(hits).toHaveLength(segments.length === 3 ? 2 : 0)
  }
})

test('where nobody can look, a third is asked and nobody is blamed; on one arithmetic nobody looks at all', async () => {
  const plans = { ann16: answersIn(6), neo16: inDialect, cid16: answersIn(6) }
  const { pool, people, kernels, looks } = await dialects(plans, {
    ann16: undefined,
    neo16: undefined,
    cid16: undefined,
  })
  await using _ = pool
  for (let n = 0; n < 4; n++) {
    const client = await pool.ask(required)
    expect((await client.ended).texts).toEqual([answer(6)])
    const { checks = [] } = await statementOf(pool, client)
    expect(checks.map(({ outcome, why }: Record<string, string>) => `${outcome} ${why}`)).toEqual(
      checks.map(() => 'waived verifier_failed'),
    )
  }
  expect(pool.eventsNamed('dissented')).toEqual([])
  const before = looks.length
  // What two of one class differ in is no noise; the pool has measured it, and the requests do not know yet.
  for (const { id } of people) kernels.set(id, 'one class')
  for (let n = 0; n < 4; n++) expect((await (await pool.ask(required)).ended).texts).toEqual([answer(6)])
  expect(looks).toHaveLength(before)
})
