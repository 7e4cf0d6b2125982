import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { leafHash } from '#crypto'
import { systemRuntime } from '#runtime'
import { GroupCommit, part } from '#storage'
import { type TestDatabase, testDatabase } from '#testkit'
import { auditLedger } from './audit.ts'
import { Ledger } from './ledger.ts'
import type { LedgerOp, TransferOp } from './ledger-op.ts'
import { ledgerStage } from './ledger-stage.ts'
import { ledgerLimits } from './limits.ts'
import { splitCharge } from './split-charge.ts'
import { statementCsv } from './statement.ts'
import { transferLeaf } from './transfer-leaf.ts'

let db: TestDatabase
let ledger: Ledger
let commit: GroupCommit
let leaves = 0

beforeAll(async () => {
  db = await testDatabase()
  ledger = new Ledger(db.database, systemRuntime)
  commit = new GroupCommit({ database: db.database, runtime: systemRuntime, stages: [ledgerStage] })
})
afterAll(async () => {
  await commit.stop()
  await db.drop()
})

const noon = Date.parse('2026-11-20T12:00:00Z')
const dayMs = 86_400_000
const [alice, bob] = [`user:${randomUUID()}`, `user:${randomUUID()}`]
const worker = `worker:${'cd'.repeat(32)}`
const aliceKey = Buffer.alloc(32, 7)

async function submit(op: LedgerOp): Promise<void> {
  expect(await commit.submit([part(ledgerStage, op)])).toEqual({ applied: true })
  await db.sql`insert into log_leaves (index, kind, ref, hash) values (${leaves++}, 'transfer', ${op.id}, ${leafHash(transferLeaf(op))})`
}
const pay = (op: Pick<TransferOp, 'kind' | 'from' | 'to' | 'amount' | 'at'> & { id?: string }) =>
  submit({ op: 'transfer', id: randomUUID(), authorisation: Buffer.from('signed'), ...op })

async function charge(account: string, cap: bigint, amount: bigint, at: number): Promise<void> {
  const hold = randomUUID()
  const budget = { key: 'key-1', total: null, perDay: null, requestsPerMinute: null, tokensPerMinute: null, tokens: 9 }
  await submit({ op: 'hold', id: hold, account, amount: cap, expiresAt: at + 60_000, at, budget })
  const legs = splitCharge({ amount, segments: [{ account: worker, tokens: 1 }] })
  await submit({ op: 'post', id: randomUUID(), hold, amount, legs, tokens: 5, kind: 'charge', at })
}

test('an account learns its key once', async () => {
  await ledger.ensureAccounts([{ name: alice }, { name: bob }])
  await ledger.ensureAccounts([{ name: alice, key: aliceKey }])
  await ledger.ensureAccounts([{ name: alice, key: aliceKey }, { name: alice }])
  const other = ledger.ensureAccounts([{ name: alice, key: Buffer.alloc(32, 8) }])
  await expect(other).rejects.toMatchObject({ code: 'ledger_conflict' })
  expect((await ledger.balance(alice)).key).toEqual(aliceKey)
  await expect(ledger.balance('user:nobody')).rejects.toMatchObject({ code: 'not_found' })
})

test('a history names the other side of everything, with its key, page by page', async () => {
  // the first of all ids: audits and exports must not begin behind it
  const id = '00000000-0000-0000-0000-000000000000'
  await pay({ id, kind: 'grant', from: 'issuance', to: alice, amount: 10_000n, at: noon - dayMs })
  await charge(alice, 500n, 101n, noon)
  await pay({ kind: 'payment', from: alice, to: bob, amount: 30n, at: noon + 1 })
  await charge(alice, 500n, 10n, noon + dayMs)
  const [newest, ...rest] = await ledger.history(alice, { limit: 2 })
  expect(newest).toMatchObject({ seq: 4, amount: -10n, balance: 9_859n, kind: 'charge', phase: 'posted' })
  expect(rest).toMatchObject([{ seq: 3, amount: -30n, counterparties: [{ account: bob, key: null, amount: 30n }] }])
  const older = await ledger.history(alice, { before: 3 })
  expect(older.map(({ amount }) => amount)).toEqual([-101n, 10_000n])
  expect(older[0]?.counterparties.map(({ account, amount }) => [account, amount])).toEqual([
    [worker, 61n],
    ['pool', 30n],
    ['treasury', 10n],
  ])
  const [earned] = await ledger.history(worker)
  expect(earned?.counterparties).toEqual([{ account: alice, key: aliceKey, amount: 10n }])
  expect((await ledger.balances()).map(({ name }) => name)).toContain(worker)
})

test('a day’s statement leads from the opening to the closing balance', async () => {
  const statement = await ledger.statement(alice, '2026-11-20')
  expect([statement.opening, statement.closing]).toEqual([10_000n, 9_869n])
  expect(await amountsOn('2026-11-20')).toEqual([-101n, -30n])
  expect(statement.key).toEqual(aliceKey)
  const lines = (await textOf(statementCsv(statement))).split('\r\n')
  expect(lines).toHaveLength(6)
  expect(lines[2]).toMatch(
    /^2,2026-11-20T12:00:00.000Z,.*,charge,-101,9899,worker:(cd){32} 61;pool 30;treasury 10,;;,,$/,
  )
  expect(await amountsOn('2026-11-22')).toEqual([])
  expect(await ledger.statement(alice, '2026-11-18')).toMatchObject({ opening: 0n, closing: 0n })
  await expect(ledger.statement(alice, '2026-02-30')).rejects.toMatchObject({ code: 'invalid_request' })
})

async function amountsOn(day: string): Promise<bigint[]> {
  const amounts: bigint[] = []
  for await (const page of (await ledger.statement(alice, day)).pages()) amounts.push(...page.map((one) => one.amount))
  return amounts
}

async function textOf(pieces: AsyncIterable<string>): Promise<string> {
  let text = ''
  for await (const piece of pieces) text += piece
  return text
}

test('an export has every transfer, as JSON lines and as CSV', async () => {
  const text = await textOf(ledger.exportRows('jsonl'))
  const rows = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { kind: string; from: { public_key: string | null } })
  expect(rows.map(({ kind }) => kind).sort()).toEqual(['charge', 'charge', 'charge', 'charge', 'grant', 'payment'])
  expect(rows.filter(({ from }) => from.public_key === aliceKey.toString('base64url'))).toHaveLength(5)
  const csv = await textOf(ledger.exportRows('csv'))
  expect(csv.trimEnd().split('\r\n')).toHaveLength(1 + 2 + 2 * (1 + 3))
})

test('whoever earned is shown with its key, though the ledger never learnt it', async () => {
  const key = Buffer.alloc(32, 0x77)
  const operator = '00000000-0000-7000-8000-0000000000aa'
  await db.sql`insert into operators (id, name, created_at) values (${operator}, 'ann', now())`
  await db.sql`
    insert into worker_keys (id, public_key, operator_id, standing, joined_at, expires_at, expires_in_ms)
    values (${worker.slice('worker:'.length)}, ${key}, ${operator}, 'approved', now(), now(), 1)`
  expect((await ledger.balance(worker)).key).toEqual(key)
  expect((await ledger.balances()).find(({ name }) => name === worker)?.key).toEqual(key)
  const paid = (await ledger.history(alice)).flatMap((entry) => entry.counterparties)
  expect(paid.find(({ account }) => account === worker)?.key).toEqual(key)
  expect(await textOf(ledger.exportRows('jsonl'))).toContain(key.toString('base64url'))
  expect(await textOf(statementCsv(await ledger.statement(alice, '2026-11-20')))).toContain(key.toString('hex'))
})

test('a token that costs so much that nobody could hold a large answer is refused', async () => {
  const dear = { model: 'dear', setBy: 'test' }
  for (const unit of ['prompt_token', 'completion_token'] as const) {
    const set = ledger.prices.set({ ...dear, unit, amount: ledgerLimits.tokenPriceMax + 1n })
    await expect(set).rejects.toMatchObject({ refusal: { code: 'invalid_request', param: unit } })
  }
  const largest = 16n * 16_777_216n + 2n * 4_194_304n
  expect(largest * ledgerLimits.tokenPriceMax).toBeLessThan(ledgerLimits.amountMax)
  expect(await ledger.prices.for('dear')).toEqual({ prompt: 100n, completion: 400n })
})

test('a new price counts from its time on, a model’s own before the general one', async () => {
  expect(await ledger.prices.for('any')).toEqual({ prompt: 100n, completion: 400n })
  await ledger.prices.set({ model: 'big', unit: 'completion_token', amount: 900n, setBy: 'test' })
  await ledger.prices.set({
    model: 'big',
    unit: 'prompt_token',
    amount: 1n,
    setBy: 'test',
    validFrom: Date.now() + 3_600_000,
  })
  expect(await ledger.prices.for('big')).toEqual({ prompt: 100n, completion: 900n })
  expect(await ledger.prices.of('cpu_100ms')).toBe(1_000_000n)
  expect((await ledger.prices.list()).map(({ model, unit }) => `${model} ${unit}`)).toEqual([
    ...['* completion_token', '* cpu_100ms', '* prompt_token', 'big completion_token', 'big prompt_token'],
  ])
})

test('an audit finds what a superuser changed, and says it in a sentence', async () => {
  expect(await ledger.audit()).toMatchObject({ ok: true, transfers: 6 })
  const open = randomUUID()
  await submit({
    op: 'hold',
    id: open,
    account: alice,
    amount: 5n,
    expiresAt: noon + 2 * dayMs,
    at: noon + dayMs,
    budget: null,
  })
  expect(await ledger.audit()).toMatchObject({ ok: true, transfers: 7 })
  const payment = `(select id from transfers where kind = 'payment')`
  const edits: readonly (readonly [string, RegExp])[] = [
    [
      `update accounts set posted = posted + 1 where name = '${bob}'`,
      /^Account user:.* says 31 where its history says 30\.$/,
    ],
    [`update transfers set amount = 31 where kind = 'payment'`, /legs of transfer .* do not sum/],
    [`update transfers set at = at + interval '1 ms' where kind = 'payment'`, /is not what the log committed to\.$/],
    [`update transfers set authorisation = 'x' where kind = 'grant'`, /is not what the log committed to\.$/],
    [`delete from transfers where kind = 'payment'`, /which does not say so\.$/],
    [
      `delete from entries where transfer = ${payment}; delete from transfers where kind = 'payment';
      update accounts set posted = posted + 30, seq = seq - 1 where name = '${alice}';
      update accounts set posted = 0, seq = 0 where name = '${bob}';
      update entries set seq = seq - 1, balance = balance + 30
       where account = (select id from accounts where name = '${alice}') and seq > 3`,
      /commits to transfer .*, which is gone\.$/,
    ],
    [`update entries set amount = amount + 1 where transfer = ${payment} and amount > 0`, /differ from its legs/],
    [`update entries set balance = balance + 1 where transfer = ${payment}`, /does not follow from the one before it/],
    [
      `insert into transfers select gen_random_uuid(), phase, kind, debit, 0, '{}', hold, expires_at, key, tokens, at, authorisation
        from transfers where kind = 'payment'`,
      /is not in the log\.$/,
    ],
    [`delete from holds where id = '${open}'`, /is neither open nor resolved\.$/],
    [`update holds set amount = 4 where id = '${open}'`, /differs from the transfer that opened it\.$/],
    [`update accounts set held = 0 where name = '${alice}'`, /holds 0 where its open holds sum to 5\.$/],
    [`update budgets set spent = 1`, /budget of key key-1 differs/],
    [`update accounts set name = 'user:${randomUUID()}' where name = '${bob}'`, /is not what the log committed to\.$/],
    [
      `update accounts set id = default where name in ('${alice}', '${bob}')`,
      /names an account that does not exist\.$/,
    ],
    [`update log_leaves set hash = sha256('x') where index = 0`, /is not what the log committed to\.$/],
  ]
  for (const [edit, problem] of edits) {
    const found = await withEdit(edit)
    expect(found, edit).toMatchObject({ ok: false })
    expect((found as { problem: string }).problem, edit).toMatch(problem)
  }
  expect(await ledger.audit()).toMatchObject({ ok: true, transfers: 7 })
})

/** An audit of an edited database, which is then as it was. */
async function withEdit(edit: string): Promise<unknown> {
  const connection = await db.database.connect()
  let found: unknown
  await connection
    .transaction(async (tx) => {
      await tx.unsafe(`set local session_replication_role = replica; ${edit}`)
      found = await auditLedger(tx)
      throw new Error('undo')
    })
    .catch((error: Error) => {
      if (error.message !== 'undo') throw error
    })
  await connection.close()
  return found
}
