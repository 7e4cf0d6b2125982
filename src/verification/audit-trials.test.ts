import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { PoolKeys } from '#log'
import { encodeMessage, encodeSigned, SignatureChecker, signBatch } from '#protocol'
import { systemRuntime } from '#runtime'
import type { Tx } from '#storage'
import { testPool } from '#testkit'
import { SmallChecks, smallWorker } from '../testkit/small-checks.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import { auditCheckLeaves, auditCheckTables } from './audit-checks.ts'

const model = 'moss'
const mallory = smallWorker(model, 'mallory').id

/** Outside of tests. */
const until = (holds: () => Promise<boolean>) =>
  vi.waitFor(async () => expect(await holds()).toBe(true), { timeout: 30_000, interval: 50 })

/** A pool in which a cheat was convicted after some honest answers. */
let home: TestDatabase
beforeAll(async () => {
  home = await testDatabase()
  await using town = await SmallChecks.open(home.database)
  let cheats = false
  const says = () => (cheats ? 'hit' : 'clean')
  town.join(model, { ann: says, bob: says, cid: says, dan: says })
  const ended = async (n: number) => {
    const [row] = await home.sql<{ n: number }[]>`select count(*)::int as n from checks where ended_at is not null`
    return (row?.n ?? 0) >= n
  }
  for (let n = 0; n < 3; n++) await town.answered(model)
  await until(() => ended(3))
  cheats = true
  for (let n = 0; n < 3; n++) await town.answered(model)
  await until(async () => town.done.includes(`refund ${mallory}`))
  const unlogged = async () => {
    const [row] = await home.sql<{ n: number }[]>`
      select (select count(*) from checks where ended_at is null or not exists (
         select from log_leaves l where l.kind = 'check' and l.ref = checks.id::text))::int as n`
    return row?.n
  }
  await until(async () => (await unlogged()) === 0)
})
afterAll(() => home?.drop())

/** What an audit of epochs and checks says of these tables after an edit by the owner of the database. Receipts are not part of this pool. */
async function auditAfter(edit: string): Promise<string | undefined> {
  let problem: string | undefined
  const work = async (tx: Tx) => {
    await tx.unsafe(`set local session_replication_role = replica;
      insert into receipts select distinct job_id, '\\x80'::bytea, '\\x80'::bytea from checks; ${edit}`)
    const leaves = await tx<{ index: string; kind: 'check'; ref: string; hash: Buffer }[]>`
      select index, kind, ref, hash from log_leaves where kind in ('epoch', 'check') order by index`
    const facts = { keys: new PoolKeys(testPool.publicKey), checker: new SignatureChecker() }
    const all = leaves.map((leaf) => ({ ...leaf, index: Number(leaf.index) }))
    problem = (await auditCheckLeaves(tx, all as never, facts)) ?? (await auditCheckTables(tx))
    throw new Error('undo')
  }
  await home.database.transaction(work).catch((error: Error) => {
    if (error.message !== 'undo') throw error
  })
  return problem
}

/** An authorised move of the pool that follows from `because`. */
function moved(because: string): string {
  const [id, worker] = [systemRuntime.uuid(), Buffer.from(mallory, 'hex')]
  const names = { from: 'refund_reserve', to: 'pool', job: null, at: 1 }
  const pool = Buffer.from(testPool.id, 'hex')
  const bytes = encodeMessage('move/1', { pool, kind: 'slash', amount: 1n, id, worker, because, ...names })
  const [signature] = signBatch(testPool, [{ type: 'move/1', bytes }])
  if (!signature) throw new Error('a batch of one has one signature')
  const wire = encodeSigned({ bytes, signature }).toString('hex')
  return `insert into transfers (id, phase, kind, debit, amount, credits, tokens, at, authorisation)
          values ('${id}', 'direct', 'slash', 1, 1, '{2,1}', 0, now(), '\\x${wire}')`
}

const aLook = `select id from looks where purpose = 'first' order by id limit 1`
const edits: readonly (readonly [what: string, edit: string, says: RegExp])[] = [
  ['who looked', `update looks set verifier = reverse(verifier) where id = (${aLook})`, /has not signed for its look/],
  [
    'whose signature it is',
    `update looks set commitment = (select commitment from looks l where l.verifier <> looks.verifier limit 1) where id = (${aLook})`,
    /has not signed for its look/,
  ],
  ['what a look found', `update looks set score = score + 1 where id = (${aLook})`, /is not what its first look says/],
  [
    'what all say of a clean one',
    `update looks set says = 'hit' where check_id in (select id from checks where state = 'clean')`,
    /is clean, and those who looked say otherwise/,
  ],
  [
    'the second opinions of a hit',
    `update looks set says = 'clean' where purpose = 'second'`,
    /is a hit that nobody confirmed/,
  ],
  ['looks that are gone', `delete from looks`, /nobody looked/],
  [
    'a verdict that is gone',
    `delete from verdicts where check_id = (select min(check_id::text)::uuid from verdicts)`,
    /which is gone/,
  ],
  [
    'a verdict put in',
    `insert into verdicts select gen_random_uuid(), job_id, wire from verdicts limit 1`,
    /is about a check that does not exist/,
  ],
  [
    'a tribunal put in',
    `insert into tribunals select gen_random_uuid(), worker_id, model, duty, called_at, votes, outcome, ended_at from tribunals`,
    /was called by no decision/,
  ],
  ['whom a tribunal is about', `update tribunals set worker_id = repeat('0', 64)`, /was called by no decision/],
  [
    'a fresh start nobody gave',
    `insert into fresh_starts values ('${mallory}', now())`,
    /was given a fresh start that no act of the log tells of/,
  ],
  ['a tribunal that is made void', `update tribunals set outcome = 'void'`, /was forestalled, and no fresh start/],
  ['how a tribunal ended', `update tribunals set outcome = 'clean'`, /ended as clean, and its votes say otherwise/],
  [
    'the votes of a tribunal',
    `update tribunals set votes = replace(votes::text, '"hit"', '"clean"')::jsonb`,
    /ended as hit, and its votes say otherwise/,
  ],
  [
    'who voted',
    `update tribunals set votes = jsonb_set(votes, '{0,verifier}', '"nobody"')`,
    /counts the vote of nobody, who never looked/,
  ],
  [
    'why somebody was slashed',
    `update standing_acts set because = 'a grudge' where act = 'slash'`,
    /was slashed because of a grudge, which convicts nobody/,
  ],
  [
    'a conviction nobody spoke',
    `update standings set phase = 'convicted' where duty = 'verify'`,
    /is convicted, and no act of the log says so/,
  ],
  [
    'a record that was not earned',
    `update standings set clean = 500 where worker_id = '${mallory}'`,
    /has 500 clean checks on record/,
  ],
  [
    'rates in force',
    `update rate_tables set rates = '[["${mallory}", "moss", 30000]]'`,
    /^The check rates [0-9a-f]{64} are not those that orders name\.$/,
  ],
  [
    'money for a conviction that was not',
    moved('a grudge'),
    /follows from a grudge, and nothing on record convicted anybody/,
  ],
]

test('the trial of a cheat is found right as it was', async () => {
  expect(await auditAfter('')).toBeUndefined()
  const [row] = await home.sql<{ because: string }[]>`select because from standing_acts where act = 'slash'`
  expect(await auditAfter(moved(row?.because ?? ''))).toBeUndefined()
})

test.each(edits)('an edit is found: %s', async (_, edit, says) => {
  expect(await auditAfter(edit)).toMatch(says)
})
