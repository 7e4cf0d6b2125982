import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type LogPosition, outsideCheckpoint, readRootAt } from '#log'
import type { Tx } from '#storage'
import { type BusyPool, busyPool } from '../testkit/busy-pool.ts'
import { type AuditResult, auditPool, auditState } from './audit-pool.ts'

let busy: BusyPool
beforeAll(async () => {
  busy = await busyPool()
})
afterAll(() => busy?.[Symbol.asyncDispose]())

test('the untouched history of a pool that was killed in the middle of its work is found right', async () => {
  const { db, dataDir, pool } = busy
  const result = await auditPool(db.database, dataDir, { poolKey: pool.identity.publicKey })
  expect(result).toMatchObject({ ok: true, counts: { from: 0 } })
  const [row] = await db.sql<{ holds: number; signed: number; paid: number }[]>`
    select (select count(*)::int from holds) as holds, (select count(*)::int from orders where seq is not null) as signed,
           (select count(*)::int from transfers where phase = 'posted') as paid`
  expect(row?.holds).toBeGreaterThan(0)
  expect(row?.signed).toBe(3)
  expect(row?.paid).toBeGreaterThan(5)
})

/** What the audit says of a database edited by its superuser, which is then as it was. */
async function auditAfter(edit: string, since?: LogPosition): Promise<AuditResult> {
  const { db, dataDir, pool } = busy
  const copy = await outsideCheckpoint(dataDir, pool.identity.publicKey)
  const connection = await db.database.connect()
  let result: AuditResult | undefined
  const work = async (tx: Tx) => {
    await tx.unsafe(`set local session_replication_role = replica; ${edit}`)
    result = await auditState(tx, { poolKey: pool.identity.publicKey, since }, copy)
    throw new Error('undo')
  }
  await connection.transaction(work).catch((error: Error) => {
    if (error.message !== 'undo') throw error
  })
  await connection.close()
  if (!result) throw new Error('nothing was audited')
  return result
}

const bytes32 = `'\\x${'ab'.repeat(32)}'`
/** The nth row of a table, by its key. */
const nth = (table: string, key: string, n: number, where = 'true') =>
  `(select ${key} from ${table} where ${where} order by ${key} offset ${n} limit 1)`
const set = (table: string, key: string, change: string, where = 'true') =>
  `update ${table} set ${change} where ${key} = ${nth(table, key, 1, where)}`
const drop = (table: string, key: string, where = 'true') =>
  `delete from ${table} where ${key} = ${nth(table, key, 1, where)}`
/** Exchanges a column of two rows, and whatever constraint is in the way. */
const swap = (table: string, key: string, column: string, where = 'true') =>
  `with two as (select ${key} as k, ${column} as v, row_number() over (order by ${key}) as n from ${table} where ${where} order by ${key} limit 2)
   update ${table} t set ${column} = other.v from two mine join two other on other.n <> mine.n where t.${key} = mine.k`
/** A copy of a row under another key. */
const copy = (table: string, key: string, fresh: string, columns: string, where = 'true') =>
  `insert into ${table} (${key}, ${columns}) overriding system value
   select ${fresh}, ${columns} from ${table} where ${key} = ${nth(table, key, 1, where)}`

const posted = `phase = 'posted'`
const settledState = `state = 'completed'`
const settledJob = (change: string) => set('jobs', 'id', change, settledState)
/** Changes what is on record of an attempt that its worker signed. */
const attempt = (change: string) =>
  `update segments set ${change} where signed and job_id = (select job_id from segments where signed order by job_id limit 1)`
const transferColumns = 'phase, kind, debit, amount, credits, hold, expires_at, key, tokens, at, authorisation'
const bob = `name like 'user:%' and key is not null`

/** Each edit, and what the sentence about it must say. */
const edits: Readonly<Record<string, readonly (readonly [what: string, edit: string, says: RegExp])[]>> = {
  accounts: [
    [
      'balance',
      set('accounts', 'id', 'posted = posted + 1', bob.replace('not null', 'not null or posted > 0')),
      /^Account .* says \d+ where its history says \d+\.$/,
    ],
    [
      'what is held',
      `update accounts set held = held - 1 where held > 0`,
      /^Account user:.* holds \d+ where its open holds sum to \d+\.$/,
    ],
    ['number of entries', `update accounts set seq = seq + 1 where name = 'treasury'`, /^Account treasury says/],
    [
      'time of the last entry',
      `update accounts set last_at = last_at + interval '1 s' where name = 'treasury'`,
      /^Account treasury has another last time/,
    ],
    [
      'name',
      `update accounts set name = 'user:' || gen_random_uuid() where ${bob}`,
      /^Transfer .* is not what the log committed to\.$/,
    ],
    ['kind', `update accounts set kind = 'pool' where name = 'treasury'`, /^Account treasury has a kind/],
    [
      'floor',
      `update accounts set floor = -1000000 where name = 'treasury'`,
      /^Account treasury has a kind or a floor/,
    ],
    [
      'key of the pool',
      `update accounts set key = ${bytes32} where name = 'treasury'`,
      /^Account treasury shows a key/,
    ],
    ['key of a user', `update accounts set key = ${bytes32} where ${bob}`, /^Account user:.* shows a key/],
    [
      'names of two, exchanged',
      `update accounts set name = '-' || name where name in ('treasury', 'pool');
       update accounts set name = case name when '-treasury' then 'pool' else 'treasury' end where name like '-%'`,
      /^Transfer .* is not what the log committed to\.$/,
    ],
    [
      'balances of two, exchanged',
      `update accounts a set posted = b.posted from accounts b where (a.name, b.name) in (('treasury', 'pool'), ('pool', 'treasury'))`,
      /^Account (pool|treasury) says/,
    ],
    [
      'ids of two, exchanged',
      `alter table accounts alter id drop identity;
       create temp table two on commit drop as select id, name from accounts where name in ('treasury', 'pool');
       update accounts set id = -id where name in ('treasury', 'pool');
       update accounts a set id = o.id from two o where a.id < 0 and a.name <> o.name`,
      /^Transfer .* is not what the log committed to\.$/,
    ],
    [
      'a deleted one with a history',
      `delete from accounts where name = 'treasury'`,
      /^(Transfer .* names an account that does not exist|Transfer .* is not what the log committed to)\.$/,
    ],
    [
      'one put in with a balance',
      `insert into accounts (name, kind, posted) values ('user:${'0'.repeat(8)}-0000-0000-0000-${'0'.repeat(12)}', 'user', 5)`,
      /^Account user:0.* says 5/,
    ],
  ],
  transfers: [
    ['phase', set('transfers', 'id', `phase = 'voided'`, `${posted}`), /^Transfer .* is not what the log/],
    [
      'kind',
      `update transfers set kind = 'payment' where id = ${nth('transfers', 'id', 1, `kind = 'grant'`)}`,
      /^Transfer .* is not what the log/,
    ],
    [
      'payer',
      `update transfers set debit = (select id from accounts where name = 'pool') where kind = 'payment'`,
      /^Transfer .* is not what the log/,
    ],
    [
      'payer of a posted one',
      set('transfers', 'id', `debit = (select id from accounts where name = 'pool')`, posted),
      /^The entries of transfer .* differ from its legs\.$|^Transfer .* left no entry/,
    ],
    ['amount', set('transfers', 'id', 'amount = amount + 1', posted), /^Transfer .* is not what the log/],
    ['payees', set('transfers', 'id', 'credits[1][2] = credits[1][2] + 1', posted), /^Transfer .* is not what the log/],
    [
      'hold',
      `drop index transfers_hold; ${swap('transfers', 'id', 'hold', posted)}`,
      /^Transfer .* is not what the log/,
    ],
    [
      'expiry',
      set('transfers', 'id', `expires_at = expires_at + interval '1 day'`, `phase = 'pending'`),
      /^Transfer .* is not what the log/,
    ],
    ['key', set('transfers', 'id', `key = 'other'`, `phase = 'pending'`), /^Transfer .* is not what the log/],
    ['tokens', set('transfers', 'id', 'tokens = tokens + 1', posted), /^Transfer .* is not what the log/],
    ['time', set('transfers', 'id', `at = at + interval '1 ms'`, posted), /^Transfer .* is not what the log/],
    [
      'authorisation',
      `update transfers set authorisation = ${bytes32} where kind = 'payment'`,
      /^Transfer .* is not what the log/,
    ],
    ['a deleted one', drop('transfers', 'id', posted), /^Leaf \d+ of the log commits to transfer .*, which is gone\.$/],
    [
      'a deleted hold',
      drop('transfers', 'id', `phase = 'pending'`),
      /^Leaf \d+ of the log commits to transfer .*, which is gone\.$/,
    ],
    [
      'one put in',
      copy('transfers', 'id', 'gen_random_uuid()', transferColumns, `kind = 'grant'`),
      /^(Transfer .* left no entry|Transfer .* is not in the log)/,
    ],
    [
      'one put in that moves nothing',
      `insert into transfers (id, ${transferColumns}) select gen_random_uuid(), phase, kind, debit, 0, '{}', hold, expires_at, key, tokens, at, authorisation from transfers where kind = 'payment'`,
      /^Transfer .* is not in the log\.$/,
    ],
    [
      'amounts of two, exchanged',
      swap('transfers', 'id', 'amount', `kind = 'grant'`),
      /^Transfer .* is not what the log/,
    ],
    [
      'authorisations of two, exchanged',
      swap('transfers', 'id', 'authorisation', `kind = 'grant'`),
      /^Transfer .* is not what the log/,
    ],
  ],
  entries: [
    [
      'amount',
      `update entries set amount = amount + 1 where seq = 1 and amount > 0`,
      /^The entries of transfer .* differ from its legs\.$/,
    ],
    ['balance', `update entries set balance = balance + 1 where seq = 2`, /^Entry \d+ of account .* does not follow/],
    [
      'time',
      `update entries set at = at + interval '1 ms' where (account, seq) = (select account, max(seq) from entries group by 1 limit 1)`,
      /^(Entry|Account) .* (has another (last )?time)/,
    ],
    [
      'transfer',
      `update entries set transfer = gen_random_uuid() where seq = 1`,
      /^Entries of account .* name transfer .*, which does not say so\.$|left no entry/,
    ],
    ['number', `update entries set seq = seq + 1000 where seq = 1`, /^Entry \d+ of account .* does not follow/],
    ['a deleted one', `delete from entries where seq = 2`, /left no entry in account/],
    [
      'a deleted last one',
      `delete from entries e where seq = (select max(seq) from entries o where o.account = e.account)`,
      /left no entry in account/,
    ],
    [
      'one put in',
      `insert into entries select account, max(seq) + 1, gen_random_uuid(), 5, 5, max(at) from entries group by 1 limit 1`,
      /^Entries of account .* which does not say so\.$/,
    ],
    [
      'amounts of two, exchanged',
      `update entries e set amount = o.amount from entries o where e.account = o.account and (e.seq, o.seq) in ((1, 2), (2, 1)) and e.amount <> o.amount`,
      /^The entries of transfer .* differ/,
    ],
  ],
  holds: [
    ['amount', `update holds set amount = amount - 1`, /^Hold .* differs from the transfer that opened it\.$/],
    ['account', `update holds set account = (select id from accounts where name = 'pool')`, /^Hold .* differs/],
    ['expiry', `update holds set expires_at = expires_at + interval '1 day'`, /^Hold .* differs/],
    ['key', `update holds set key = 'other'`, /^Hold .* differs/],
    ['tokens', `update holds set tokens = tokens + 1`, /^Hold .* differs/],
    ['day', `update holds set day = day + 1`, /^Hold .* counts in another day/],
    ['minute', `update holds set minute = minute - 1`, /^Hold .* counts in another day or minute/],
    [
      'a deleted one',
      `delete from holds where id = ${nth('holds', 'id', 0)}`,
      /^Hold .* is neither open nor resolved\.$/,
    ],
    [
      'one put in',
      `insert into holds select gen_random_uuid(), account, amount, expires_at, key, tokens, day, minute from holds limit 1`,
      /^Hold .* is open without a transfer/,
    ],
    [
      'a resolved one put back',
      `insert into holds select id, debit, amount, expires_at, key, tokens, 0, 0 from transfers t where phase = 'pending' and exists (select from transfers r where r.hold = t.id) limit 1`,
      /^Hold .* is open without a transfer that opened it, or after it was resolved\.$/,
    ],
  ],
  budgets: [
    [
      'spent',
      `update budgets set spent = spent - 1 where spent > 0`,
      /^The budget of key .* differs from what the key has used\.$/,
    ],
    ['reserved', `update budgets set reserved = reserved + 1`, /^The budget of key .* differs/],
    ['used today', `update budgets set day_used = 0 where day_used > 0`, /^The budget of key .* counts other uses/],
    ['day', `update budgets set day = day + 1`, /^The budget of key .* counts other uses/],
    ['minute', `update budgets set minute = minute - 1`, /^The budget of key .* counts other uses/],
    ['requests', `update budgets set requests = requests + 1000`, /^The budget of key .* counts other uses/],
    ['tokens', `update budgets set tokens = tokens + 1000000`, /^The budget of key .* counts other uses/],
    [
      'key',
      `update budgets set key = 'other' where key = ${nth('budgets', 'key', 0)}`,
      /^The budget of key .* differs/,
    ],
    ['a deleted one', `delete from budgets where key = ${nth('budgets', 'key', 0)}`, /^The budget of key .* differs/],
    [
      'one put in',
      `insert into budgets (key) values ('other')`,
      /^The budget of key other is there and the key was never used\.$/,
    ],
    ['two, exchanged', swap('budgets', 'key', 'spent'), /^The budget of key .* differs/],
  ],
  prices: [
    [
      'amount of a default',
      `update prices set amount = 1 where seq = 2`,
      /^Price 2 is not the one every pool begins with\.$/,
    ],
    ['amount', `update prices set amount = 1 where seq = 4`, /^Price 4 was set by nobody\.$/],
    ['model', `update prices set model = 'other' where seq = 4`, /^Price 4 was set by nobody\.$/],
    ['unit', `update prices set unit = 'prompt_token' where seq = 4`, /^Price 4 was set by nobody\.$/],
    [
      'beginning',
      `update prices set valid_from = valid_from + interval '1 day' where seq = 5`,
      /^Price 5 was set by nobody\.$/,
    ],
    ['who set it', `update prices set set_by = 'default' where seq = 4`, /^Price 4 is not the one/],
    ['a deleted one', `delete from prices where seq = 5`, /^Act \d+ set a price that is gone\.$/],
    [
      'one put in',
      `insert into prices (model, unit, amount, valid_from, set_by) values ('*', 'prompt_token', 0, now(), 'owner.key')`,
      /^Price \d+ was set by nobody\.$/,
    ],
    [
      'amounts of two, exchanged',
      swap('prices', 'seq', 'amount', `set_by <> 'default'`),
      /^Price [45] was set by nobody\.$/,
    ],
  ],
  orders: [
    ['hash', set('orders', 'job_id', `hash = ${bytes32}`), /^The order of job .* is not what the log committed to\.$/],
    [
      'signed bytes',
      set(
        'orders',
        'job_id',
        'wire = overlay(wire placing wire from 40 for 1)'.replace('placing wire', `placing '\\xff'::bytea`),
      ),
      /^The order of job /,
    ],
    [
      'signature',
      set(
        'orders',
        'job_id',
        `wire = overlay(wire placing '\\x00'::bytea from position(payer in substring(wire from 400)) + 440)`,
      ),
      /^The order of job /,
    ],
    [
      'payer',
      set('orders', 'job_id', `payer = ${bytes32}`),
      /^The order of job .* names another payer or number than its row\.$/,
    ],
    [
      'number',
      set('orders', 'job_id', 'seq = seq + 100000', 'seq is not null'),
      /^The order of job .* names another payer or number/,
    ],
    [
      'a deleted one',
      drop('orders', 'job_id'),
      /^Leaf \d+ of the log commits to the order of job .*, which is gone\.$/,
    ],
    [
      'one put in',
      `insert into orders select gen_random_uuid(), sha256('x'), wire, payer, null from orders limit 1`,
      /^The order of job .* is not in the log\.$/,
    ],
    [
      'bytes of two, exchanged',
      swap('orders', 'job_id', 'wire'),
      /^The order of job .* is not the one its hash stands for\.$/,
    ],
    [
      'jobs of two, exchanged',
      `create temp table two on commit drop as select * from orders order by job_id limit 2; delete from orders where job_id in (select job_id from two); insert into orders select (select o.job_id from two o where o.job_id <> two.job_id), hash, wire, payer, seq from two`,
      /^The order of job .* is not what the log committed to\.$/,
    ],
  ],
  receipts: [
    [
      'statement',
      set('receipts', 'job_id', `statement = overlay(statement placing '\\x00'::bytea from 90)`),
      /^The receipt of job .* is not what the log committed to\.$/,
    ],
    [
      'signatures of workers',
      set(
        'receipts',
        'job_id',
        `workers = overlay(workers placing '\\x00'::bytea from length(workers) - 20)`,
        'length(workers) > 10',
      ),
      /^The receipt of job .* is not what the log/,
    ],
    [
      'a deleted one',
      drop('receipts', 'job_id'),
      /^Leaf \d+ of the log commits to the receipt of job .*, which is gone\.$/,
    ],
    [
      'one put in',
      `insert into receipts select gen_random_uuid(), workers, statement from receipts limit 1`,
      /^The receipt of job .* is not in the log\.$/,
    ],
    [
      'statements of two, exchanged',
      swap('receipts', 'job_id', 'statement'),
      /^The receipt of job .* is not what the log/,
    ],
  ],
  payer_windows: [
    [
      'greatest number',
      `update payer_windows set high = high - 1`,
      /^The window of payer key .* is not that of its orders\.$/,
    ],
    ['a deleted one', `delete from payer_windows`, /^The window of payer key .* is not that of its orders\.$/],
    [
      'one put in',
      `insert into payer_windows values (${bytes32}, 7)`,
      /^The window of payer key abab.* is not that of its orders\.$/,
    ],
  ],
  epochs: [
    ['commitment', set('epochs', 'epoch', `commitment = ${bytes32}`), /^Epoch \d+ is not what the log committed to\.$/],
    ['a deleted one', drop('epochs', 'epoch'), /^Leaf \d+ of the log commits to epoch \d+, which is gone\.$/],
    [
      'one put in',
      copy('epochs', 'epoch', '1', `commitment, sealed`).replace('select 1, commitment', `select 1, ${bytes32}`),
      /^Epoch 1 is not in the log\.$/,
    ],
    [
      'a key told that was not',
      set('epochs', 'epoch', `key = ${bytes32}, sealed = null, disclosure = ${bytes32}`),
      /^The key of epoch \d+ is not the one it was committed to\.$/,
    ],
  ],
  checks: [
    [
      'an outcome that nobody gave',
      `update checks set state = 'clean', waived = null where id = ${nth('checks', 'id', 1)}`,
      /^Check .* ended as clean without a verdict\.$/,
    ],
    [
      'a waiver that came later',
      `update checks set ended_at = ended_at + interval '1 s' where id = ${nth('checks', 'id', 1)}`,
      /^Check .* was waived without a verdict/,
    ],
    [
      'its job',
      `update checks set job_id = gen_random_uuid() where id = ${nth('checks', 'id', 1)}`,
      /^Check .* which has no receipt\.$/,
    ],
  ],
  log_leaves: [
    [
      'hash',
      set('log_leaves', 'index', `hash = ${bytes32}`),
      /^Checkpoint \d+ has another root than the leaves\.$|^The first \d+ leaves/,
    ],
    [
      'kind',
      set('log_leaves', 'index', `kind = 'check'`, `kind = 'order'`),
      /^Leaf \d+ of the log commits to check .*, which is gone\.$/,
    ],
    [
      'name',
      set('log_leaves', 'index', `ref = 'x'`, `kind = 'transfer'`),
      /^Leaf \d+ of the log commits to transfer x, which is gone\.$/,
    ],
    ['a deleted one', drop('log_leaves', 'index'), /^Leaf 1 is missing\.$/],
    [
      'a deleted last one',
      `delete from log_leaves where index = (select max(index) from log_leaves)`,
      /^Leaf \d+ is missing\.$/,
    ],
    [
      'one put in',
      `insert into log_leaves select max(index) + 1, 'check', 'x', ${bytes32} from log_leaves`,
      /^Leaves outside the tree: 1\.$/,
    ],
    ['hashes of two, exchanged', swap('log_leaves', 'index', 'hash'), /^Checkpoint \d+ has another root/],
    [
      'names of two, exchanged',
      `update log_leaves set ref = '-' || ref where kind = 'order' and index in (select index from log_leaves where kind = 'order' order by index limit 2); update log_leaves l set ref = substr(o.ref, 2) from log_leaves o where l.ref like '-%' and o.ref like '-%' and l.index <> o.index`,
      /^The order of job .* is not what the log committed to\.$/,
    ],
  ],
  log_head: [
    ['right edge', `update log_head set frontier[1] = ${bytes32}`, /^The head does not fit the leaves\.$/],
    ['size', `update log_head set size = size - 1`, /^Leaves outside the tree|^Checkpoints beyond/],
    ['generation', `update log_head set generation = 2`, /checkpoint|generation/i],
    [
      'number of checkpoints',
      `update log_head set checkpoints = checkpoints + 1`,
      /^The log has \d+ checkpoints; some are not there\.$/,
    ],
    ['deleted', `delete from log_head`, /^The head of the log is missing\.$/],
  ],
  log_checkpoints: [
    [
      'note',
      set('log_checkpoints', 'number', `note = replace(note, 'lichen/', 'Lichen/')`),
      /^Checkpoint 1 does not carry the pool's signature\.$/,
    ],
    ['size', set('log_checkpoints', 'number', 'size = size + 1'), /^Checkpoint/],
    ['generation', set('log_checkpoints', 'number', 'generation = 2'), /^Checkpoint/],
    ['number', set('log_checkpoints', 'number', 'number = 100000'), /^Checkpoint|^Checkpoints beyond/],
    ['a deleted one', drop('log_checkpoints', 'number'), /^Checkpoint 2 stands where number 1 belongs\.$/],
    [
      'a deleted last one',
      `delete from log_checkpoints where number = (select max(number) from log_checkpoints)`,
      /^The log has \d+ checkpoints; some are not there\.$/,
    ],
    [
      'one put in',
      `insert into log_checkpoints select max(number) + 1, 1, max(size), max(note) from log_checkpoints`,
      /^Checkpoints beyond the head: 1\.$/,
    ],
    [
      'notes of two, exchanged',
      swap('log_checkpoints', 'number', 'note', 'number > 0'),
      /^Checkpoint 1 says something else than its row\.$/,
    ],
  ],
  log_tiles: [
    ['one put in', `insert into log_tiles values (0, 0, ${bytes32}, decode(repeat('ab', 8192), 'hex'))`, /^Tile 0\/0 /],
  ],
  acts: [
    ['who', set('acts', 'seq', `actor = 'nobody'`), /^Act 2 is not what was logged\.$/],
    ['what', set('acts', 'seq', `action = 'user.enable'`), /^Act 2 is not what was logged\.$/],
    ['to whom', set('acts', 'seq', `subject = 'x'`), /^Act 2 is not what was logged\.$/],
    ['details', set('acts', 'seq', `details = '{}'`), /^Act 2 is not what was logged\.$/],
    ['time', set('acts', 'seq', `at = at - interval '1 s'`), /^Act 2 is not what was logged\.$/],
    ['salt', set('acts', 'seq', `salt = ${bytes32}`), /^Act 2 is not what was logged\.$/],
    ['a deleted one', drop('acts', 'seq'), /^Act 2 is missing\.$/],
    [
      'one put in among the old ones',
      `insert into acts (actor, action, subject, at) values ('a', 'b', 'c', date_trunc('second', now()) - interval '1 hour')`,
      /^Act \d+ was never logged\.$/,
    ],
    ['details of two, exchanged', swap('acts', 'seq', 'details'), /^Act \d+ is not what was logged\.$/],
  ],
  'who may what': [
    [
      'role of a user',
      `update users set role = 'owner' where name = 'carla'`,
      /^The role of user carla was changed by nobody\.$/,
    ],
    [
      'payer key',
      `update users set payer_key = ${bytes32} where name = 'bob'`,
      /^The payer key of user bob was changed by nobody\.$/,
    ],
    [
      'a disabled user',
      `update users set disabled_at = null where name = 'carla'`,
      /^User carla was enabled by nobody\.$/,
    ],
    [
      'a user put in',
      `insert into users (id, name, role, created_at) values (gen_random_uuid(), 'eve', 'owner', now())`,
      /^User eve was made by nobody\.$/,
    ],
    [
      'role of a key',
      `update api_keys set role = 'admin' where name = 'laptop'`,
      /^API key .* is not what act \d+ made it\.$/,
    ],
    [
      'budget of a key',
      `update api_keys set budget_total = null where name = 'laptop'`,
      /^API key .* is not what act \d+ made it\.$/,
    ],
    [
      'a revoked key',
      `update api_keys set revoked_at = null where name = 'old'`,
      /^API key .* was brought back by nobody\.$/,
    ],
    [
      'a key put in',
      `insert into api_keys (id, name, key_hash, created_at, user_id) select gen_random_uuid(), 'x', ${bytes32}, now(), id from users limit 1`,
      /^API key .* was made by nobody\.$/,
    ],
    [
      'a key put in, older than everything',
      `insert into api_keys (id, name, key_hash, created_at, user_id, role) select gen_random_uuid(), 'x', ${bytes32}, '2000-01-01', id, 'owner' from users order by id limit 1`,
      /^API key .* was made by nobody\.$/,
    ],
    [
      'a key put in the place of another',
      `update api_keys set key_hash = ${bytes32} where name = 'laptop'`,
      /^API key .* is not what act \d+ made it\.$/,
    ],
    [
      'role of a key whose user changed roles',
      `update api_keys set role = 'owner' where name = 'clipboard'`,
      /^API key .* is not what act \d+ made it\.$/,
    ],
    [
      'name of a user',
      `update users set name = 'eve' where name = 'bob'`,
      /^The name of user eve was changed by nobody\.$/,
    ],
    [
      'name of the first user',
      `update users set name = 'eve' where name = 'owner'`,
      /^The name of user eve was changed by nobody\.$/,
    ],
    [
      'role of the first user',
      `update users set role = 'auditor' where name = 'owner'`,
      /^The role of user owner was changed by nobody\.$/,
    ],
    [
      'a worker put in, older than everything',
      `insert into worker_keys (id, public_key, operator_id, standing, joined_at, expires_at, expires_in_ms)
         select encode(sha256(${bytes32}), 'hex'), ${bytes32}, id, 'approved', '2000-01-01', '2100-01-01', 1 from operators limit 1`,
      /^Worker .* was let in by nobody\.$/,
    ],
    [
      'an admin key put in',
      `insert into admin_keys (id, public_key, name, created_at, added_by) values ('${'0'.repeat(64)}', ${bytes32}, 'eve', now(), 'x')`,
      /^Admin key 0+ was added by nobody\.$/,
    ],
    ['an admin key taken away', `delete from admin_keys`, /^Admin key .* was forgotten by nobody\.$/],
    ['a revoked worker', `update worker_keys set standing = 'revoked'`, /^Worker .* is not as act \d+ left it\.$/],
    [
      'state of a settled job',
      `update jobs set state = 'failed' where id = ${nth('jobs', 'id', 1, `state = 'completed'`)}`,
      /^The receipt of job .* says completed, and the job's row failed\.$/,
    ],
    [
      'operator of a worker',
      `insert into operators (id, name, created_at) values ('${'0'.repeat(8)}-0000-0000-0000-${'0'.repeat(12)}', 'eve', now());
       update worker_keys set operator_id = '${'0'.repeat(8)}-0000-0000-0000-${'0'.repeat(12)}'`,
      /^Worker .* belongs to another operator than act \d+ says\.$/,
    ],
    [
      'a block lifted',
      `update blocks set lifted_at = now(), lifted_by = 'eve' where lifted_at is null`,
      /^The block of address:.* was lifted by nobody\.$/,
    ],
    ['reason of a block', `update blocks set because = 'x' where lifted_at is null`, /^The block of .* was changed by/],
    ['who made a block', `update blocks set by_whom = 'x' where lifted_at is null`, /^The block of .* was changed by/],
    [
      'network of a block',
      `update blocks set network = '10.0.0.0/8' where lifted_at is null`,
      /^The block of .* keeps out another network\.$/,
    ],
    ['a deleted block', `delete from blocks where lifted_at is null`, /^The block of .* was lifted by nobody\.$/],
    [
      'a lifted block, deleted',
      `delete from blocks where lifted_at is not null`,
      /has 0 blocks on record, and acts tell of 1\.$/,
    ],
    [
      'a block put in',
      `insert into blocks (id, kind, subject, because, by_whom, at)
         select gen_random_uuid(), 'worker', id, 'x', 'owner', now() from worker_keys limit 1`,
      /^The block of worker:.* was made by nobody\.$/,
    ],
    [
      'a lifted block, put in',
      `insert into blocks (id, kind, subject, network, because, by_whom, at, lifted_at, lifted_by)
         select gen_random_uuid(), kind, subject, network, because, by_whom, at, now(), 'owner' from blocks where lifted_at is null`,
      /has 2 blocks on record, and acts tell of 1\.$/,
    ],
    [
      'an operator blocked',
      `update operators set blocked_at = now(), blocked_because = 'x' where name = 'self'`,
      /^Operator self was blocked by nobody\.$/,
    ],
    [
      'an operator unblocked',
      `update operators set blocked_at = null, blocked_because = null where name = 'mallory'`,
      /^Operator mallory was unblocked by nobody\.$/,
    ],
  ],
  jobs: [
    [
      'key',
      settledJob(`key_id = 'other'`),
      /^The receipt of job .* and its hold say another key than the job's row\.$/,
    ],
    ['model', settledJob(`model = 'other'`), /another model than/],
    ['model file', settledJob(`digest = null`), /another model file than/],
    ['end', settledJob(`ended_at = ended_at + interval '1 s'`), /another end than/],
    ['deadline', settledJob(`deadline_at = deadline_at + interval '1 s'`), /another deadline than/],
    ['tokens', settledJob(`completion_tokens = completion_tokens + 1`), /bills .* tokens, and the job's row counts/],
    [
      'a deleted one',
      drop('jobs', 'id', settledState),
      /^The receipt of job .* says completed, and the job's row is gone\.$/,
    ],
    [
      'one put in',
      `insert into jobs select (jsonb_populate_record(j, jsonb_build_object('id', gen_random_uuid()))).* from jobs j where ${settledState} limit 1`,
      /^Job .* has no order\.$/,
    ],
    [
      'keys of two, exchanged',
      `update jobs set key_id = case key_id when (select min(key_id) from jobs) then (select max(key_id) from jobs) else (select min(key_id) from jobs) end`,
      /another key than/,
    ],
  ],
  segments: [
    [
      'worker',
      attempt(`worker_id = repeat('0', 64)`),
      /^The receipt of job .* says another worker of attempt 0\/0 than its row\.$/,
    ],
    ['pieces', attempt('pieces = pieces + 1'), /another count of tokens of attempt/],
    ['claim', attempt('completion_claim = completion_claim + 1'), /another claim of tokens of attempt/],
    ['claim of the prompt', attempt('prompt_claim = prompt_claim + 1'), /another claim of prompt tokens of attempt/],
    ['model file', attempt('digest = null'), /another model file of attempt/],
    ['signed', attempt('signed = false'), /another signature of attempt/],
    [
      'a deleted one',
      `delete from segments where signed`,
      /^The receipt of job .* names attempt \d+\/\d+, which is gone\.$/,
    ],
    [
      'one put in',
      `insert into segments select (jsonb_populate_record(s, '{"attempt": 7}')).* from segments s where signed limit 1`,
      /^The receipt of job .* does not name attempt 0\/7, which gave something\.$/,
    ],
    [
      'one put in for no job',
      `insert into segments select (jsonb_populate_record(s, jsonb_build_object('job_id', gen_random_uuid()))).* from segments s where signed limit 1`,
      /^Attempt 0\/0 is of job .*, which does not exist\.$/,
    ],
  ],
}

for (const [table, list] of Object.entries(edits)) {
  test.each(list)(
    `in ${table}, edited by the superuser of the database: %s is found and named`,
    async (_, edit, says) => {
      const result = await auditAfter(edit)
      expect(result).toMatchObject({ ok: false, problem: expect.stringMatching(says) })
    },
  )
}

/**
 * Edits that no audit finds, each with the reason. Nothing that was ever promised to anybody depends on them.
 */
const undetectable: readonly (readonly [string, string])[] = [
  [
    'when an account was made: nothing says when, nobody reads it',
    `update accounts set created_at = now() where name = 'treasury'`,
  ],
  [
    'the name of the last batch: a pool that does not know it forgets what it remembers, and reads',
    `update ledger_mark set batch = gen_random_uuid()`,
  ],
  [
    'an empty account put in: as good as one that is made when it is first paid',
    `insert into accounts (name, kind) values ('user:${'0'.repeat(8)}-0000-0000-0000-${'0'.repeat(12)}', 'user')`,
  ],
  [
    'how many choices and tokens were asked for: what was billed is on the receipt, and no more than was held',
    `update jobs set choices = 3, max_tokens = 7, streamed = not streamed where ended_at is not null`,
  ],
  [
    'when an attempt began and ended, and how: nothing is paid by it',
    `update segments set started_at = now(), ended_at = now(), outcome = 'failed', fault = 'over_claim', code = 'x'`,
  ],
  [
    'an attempt that gave nothing: nobody paid for it; who saw the prompt is on the receipt',
    `insert into segments select (jsonb_populate_record(s, '{"attempt": 7, "pieces": 0, "signed": false}')).* from segments s where signed`,
  ],
  [
    'an act put in just now: newer than the last checkpoint, so the pool will log it as what it is',
    `insert into acts (actor, action, subject) values ('a', 'b', 'c')`,
  ],
]
test.each(undetectable)('not found: %s', async (_, edit) => {
  expect(await auditAfter(edit)).toMatchObject({ ok: true })
})

describe('an audit from where the last one ended', () => {
  /** Leaves that an earlier audit has found right: all before the last settlement, which the orders of the cut off follow. */
  async function auditTail(edit: string): Promise<AuditResult> {
    const { db } = busy
    const [last] = await db.sql<{ index: bigint }[]>`select max(index) as index from log_leaves where kind = 'receipt'`
    const size = Number(last?.index ?? 0n) - 10
    const root = await readRootAt(db.sql, size)
    if (!root) throw new Error('the log is too short')
    return auditAfter(edit, { size, root })
  }
  const last = (kind: string) => `(select ref::uuid from log_leaves where kind = '${kind}' order by index desc limit 1)`
  const lastPosted = `(select t.id from transfers t join log_leaves l on l.ref = t.id::text where ${posted} order by l.index desc limit 1)`

  test('finds nothing in an untouched history, and says what it looked at', async () => {
    const result = await auditTail('select 1')
    expect(result).toMatchObject({ ok: true, counts: { from: expect.any(Number) } })
    expect(result.ok && result.counts.from).toBeGreaterThan(0)
  })

  test.each([
    [
      'a transfer',
      `update transfers set tokens = tokens + 1 where id = ${last('transfer')}`,
      /^Transfer .* is not what/,
    ],
    ['an order', `delete from orders where job_id = ${last('order')}`, /^Leaf \d+ of the log commits to the order/],
    ['a receipt', `delete from receipts where job_id = ${last('receipt')}`, /^Leaf \d+ .* the receipt of job/],
    [
      'an entry',
      `update entries set amount = amount + 1 where transfer = ${lastPosted} and amount > 0`,
      /^The entries of/,
    ],
    ['a balance', `update accounts set posted = posted + 1 where name = 'treasury'`, /^Account treasury says/],
    ['a hold', `delete from holds`, /^Account user:.* holds/],
    [
      'an order without a leaf',
      `insert into orders select gen_random_uuid(), sha256('x'), wire, payer, null from orders limit 1`,
      /is not in the log/,
    ],
    ['a price', `update prices set amount = 0 where seq = 1`, /^Price 1 is not/],
  ])('finds what was changed since: %s', async (_, edit, says) => {
    expect(await auditTail(edit)).toMatchObject({ ok: false, problem: expect.stringMatching(says) })
  })

  test('begins anew when the leaves before are not those it knew', async () => {
    const result = await auditAfter('select 1', { size: 4, root: Buffer.alloc(32) })
    expect(result).toMatchObject({ ok: true, counts: { from: 0 } })
  })
})

test('each table of money and log is edited above', async () => {
  const owned = [
    'accounts',
    'transfers',
    'entries',
    'holds',
    'budgets',
    'prices',
    'orders',
    'receipts',
    'payer_windows',
    'log_leaves',
    'log_head',
    'log_checkpoints',
    'log_tiles',
    'acts',
    'jobs',
    'segments',
  ]
  expect(Object.keys(edits)).toEqual(expect.arrayContaining(owned))
})

test('a pool whose history was changed does not start, and `lichen audit` says the same sentence', async () => {
  const { db, dataDir, start } = busy
  await db.database.transaction((tx) =>
    tx.unsafe(`set local session_replication_role = replica; update prices set amount = 1 where seq = 1`),
  )
  for (const command of [['audit'], ['up', '--port', '0', '--json']]) {
    const program = start([...command, '--data', dataDir])
    expect(await program.ended).toBe(1)
    expect(program.stderr).toContain('Price 1 is not the one every pool begins with.')
    expect(program.stdout).toEqual([])
  }
  await db.database.transaction((tx) =>
    tx.unsafe(`set local session_replication_role = replica; update prices set amount = 100 where seq = 1`),
  )
  const clean = start(['audit', '--json', '--since', 'last', '--data', dataDir])
  expect(await clean.firstLine()).toMatchObject({ ok: true })
  expect(await clean.ended).toBe(0)
})
