import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { GroupCommit, part, type Stage, type Tx } from '#storage'
import { type TestDatabase, testDatabase } from '#testkit'
import { Ledger } from './ledger.ts'
import {
  type BudgetAsk,
  type BudgetLeft,
  type HoldOp,
  type LedgerOp,
  ledgerCodeName,
  type PostOp,
} from './ledger-op.ts'
import { ledgerStage } from './ledger-stage.ts'
import { ledgerRefusal } from './refusals.ts'
import { splitCharge } from './split-charge.ts'

let db: TestDatabase
let ledger: Ledger
let commits: GroupCommit[]

beforeAll(async () => {
  db = await testDatabase()
  ledger = new Ledger(db.database, systemRuntime)
  // two pool processes on one database
  commits = [0, 1].map(() => new GroupCommit({ database: db.database, runtime: systemRuntime, stages: [ledgerStage] }))
})
afterAll(async () => {
  for (const commit of commits) await commit.stop()
  await db.drop()
})

const at = Date.parse('2026-11-20T12:00:10Z')
const worker = `worker:${'ab'.repeat(32)}`
const unlimited = { total: null, perDay: null, requestsPerMinute: null, tokensPerMinute: null, tokens: 0 }

async function submit(op: LedgerOp, pool: number | GroupCommit = 0): Promise<string> {
  const commit = typeof pool === 'number' ? commits[pool] : pool
  const outcome = await commit?.submit([part(ledgerStage, op)])
  if (!outcome) throw new Error(`there is no pool ${pool}`)
  return outcome.applied ? 'applied' : ledgerCodeName(outcome.code)
}

async function userWith(amount: bigint): Promise<string> {
  const to = `user:${randomUUID()}`
  await ledger.ensureAccounts([{ name: to }])
  const grant = { op: 'transfer', kind: 'grant', from: 'issuance', to, amount, at } as const
  if (amount > 0n) await submit({ ...grant, id: randomUUID(), authorisation: Buffer.from('signed') })
  return to
}

const holdOf = (account: string, amount: bigint, more: Partial<HoldOp> = {}): HoldOp => {
  return { op: 'hold', id: randomUUID(), account, amount, expiresAt: at + 60_000, at, budget: null, ...more }
}
const postOf = (hold: string, amount: bigint, tokens = 0): PostOp => {
  const legs = splitCharge({ amount, segments: [{ account: worker, tokens: 1 }] })
  return { op: 'post', id: randomUUID(), hold, amount, legs, tokens, kind: 'charge', at }
}

test('a job reserves its cap, pays what was counted and gets the rest back', async () => {
  const alice = await userWith(1_000n)
  const hold = holdOf(alice, 600n)
  expect(await submit(hold)).toBe('applied')
  expect(await ledger.balance(alice)).toMatchObject({ posted: 1_000n, held: 600n, available: 400n })
  expect(await submit(holdOf(alice, 401n))).toBe('insufficient_credit')
  expect(await submit(postOf(hold.id, 601n))).toBe('amount_over_hold')
  const before = await ledger.balance('pool')
  expect(await submit(postOf(hold.id, 100n))).toBe('applied')
  expect(await ledger.balance(alice)).toMatchObject({ posted: 900n, held: 0n, available: 900n })
  expect(await ledger.balance(worker)).toMatchObject({ posted: 60n, kind: 'worker' })
  expect((await ledger.balance('pool')).posted - before.posted).toBe(30n)
})

test('the same id is the same transfer, and another content under it is a conflict', async () => {
  const alice = await userWith(1_000n)
  const hold = holdOf(alice, 10n)
  expect(await Promise.all([submit(hold), submit(hold), submit(hold, 1)])).toEqual(['applied', 'applied', 'applied'])
  expect(await submit({ ...hold, at: at + 5 })).toBe('applied')
  expect(await submit({ ...hold, amount: 11n })).toBe('conflict')
  expect((await ledger.balance(alice)).held).toBe(10n)
  const post = postOf(hold.id, 5n)
  expect([await submit(post), await submit(post, 1)]).toEqual(['applied', 'applied'])
  expect(await submit({ ...post, tokens: 3 })).toBe('conflict')
  expect(await submit(postOf(hold.id, 5n))).toBe('hold_resolved')
  expect(await submit({ op: 'void', id: randomUUID(), hold: hold.id, at })).toBe('hold_resolved')
  expect(await submit({ op: 'void', id: randomUUID(), hold: randomUUID(), at })).toBe('unknown_hold')
})

test('two pools that settle one hold in different ways settle it once', async () => {
  const alice = await userWith(100n * 50n)
  const holds = Array.from({ length: 50 }, () => holdOf(alice, 100n))
  await Promise.all(holds.map((hold) => submit(hold)))
  const outcomes = await Promise.all(
    holds.map(({ id }) =>
      Promise.all([submit(postOf(id, 40n)), submit({ op: 'void', id: randomUUID(), hold: id, at }, 1)]),
    ),
  )
  for (const pair of outcomes) expect([...pair].sort()).toEqual(['applied', 'hold_resolved'])
  const posted = outcomes.filter(([one]) => one === 'applied').length
  expect(await ledger.balance(alice)).toMatchObject({ posted: 5_000n - 40n * BigInt(posted), held: 0n })
})

test('200 calls at once on a budget of 10 units: ten get it, in two pools together, and no hold leaks', async () => {
  const alice = await userWith(1_000n)
  const budget: BudgetAsk = { ...unlimited, key: randomUUID(), total: 10n }
  const holds = Array.from({ length: 200 }, () => holdOf(alice, 1n, { budget }))
  const codes = await Promise.all(holds.map((hold, n) => submit(hold, n % 2)))
  expect(codes.filter((code) => code === 'applied')).toHaveLength(10)
  expect(codes.filter((code) => code === 'budget_total')).toHaveLength(190)
  const taken = holds.filter((_, n) => codes[n] === 'applied')
  await Promise.all(
    taken.map(({ id }, n) => submit(n % 2 ? postOf(id, 1n) : { op: 'void', id: randomUUID(), hold: id, at }, n % 2)),
  )
  expect(await ledger.holds({ account: alice })).toEqual([])
  expect(await ledger.balance(alice)).toMatchObject({ posted: 995n, held: 0n })
  const [used] = await db.sql`select spent, reserved from budgets where key = ${budget.key}`
  expect(used).toEqual({ spent: 5n, reserved: 0n })
})

test('a key is told what is left and when it is whole again', async () => {
  const alice = await userWith(1_000_000n)
  const limits = { total: 900n, perDay: 500n, requestsPerMinute: 3, tokensPerMinute: 100 }
  const budget: BudgetAsk = { key: randomUUID(), ...limits, tokens: 40 }
  const lefts: BudgetLeft[] = []
  const told = { onApplied: (left: BudgetLeft) => lefts.push(left), onRefused: (left: BudgetLeft) => lefts.push(left) }
  const first = holdOf(alice, 200n, { budget, ...told })
  expect(await submit(first)).toBe('applied')
  const resets = { minuteResetsAt: Date.parse('2026-11-20T12:01:00Z'), dayResetsAt: Date.parse('2026-11-21T00:00:00Z') }
  expect(lefts.pop()).toEqual({ available: 999_800n, total: 700n, day: 300n, requests: 2, tokens: 60, ...resets })
  expect(await submit(postOf(first.id, 50n, 10))).toBe('applied')
  expect(await submit(holdOf(alice, 451n, { budget, ...told }))).toBe('budget_day')
  const left = lefts.pop()
  expect(left).toMatchObject({ total: 850n, day: 450n, requests: 2, tokens: 90 })
  expect(ledgerRefusal(8, left, at)).toMatchObject({ code: 'budget_exceeded', retryAfterMs: 43_190_000 })
  expect(await submit(holdOf(alice, 1n, { budget: { ...budget, tokens: 91 } }))).toBe('rate_tokens')
  expect(await submit(holdOf(alice, 1n, { budget }))).toBe('applied')
  expect(await submit(holdOf(alice, 1n, { budget }))).toBe('applied')
  expect(await submit(holdOf(alice, 1n, { budget, ...told }))).toBe('rate_requests')
  expect(ledgerRefusal(9, lefts.pop(), at)).toMatchObject({ code: 'rate_limit_exceeded', retryAfterMs: 50_000 })
  const later = { at: at + 60_000, expiresAt: at + 120_000 }
  expect(await submit(holdOf(alice, 1n, { budget, ...later }))).toBe('applied')
})

test('a hold that nobody resolved expires, not before its time', async () => {
  const alice = await userWith(100n)
  const hold = holdOf(alice, 100n)
  await submit(hold)
  expect(await submit({ op: 'expire', id: randomUUID(), hold: hold.id, at: hold.expiresAt - 1 })).toBe('invalid')
  expect(await submit({ op: 'expire', id: randomUUID(), hold: hold.id, at: hold.expiresAt })).toBe('applied')
  expect(await ledger.balance(alice)).toMatchObject({ available: 100n })
})

test('grants come out of issuance with a signature, and the bootstrap comes once', async () => {
  const [alice, bob] = [await userWith(0n), await userWith(0n)]
  const transfer = { op: 'transfer', at, amount: 50n, authorisation: Buffer.from('signed') } as const
  const bootstrap = { ...transfer, kind: 'bootstrap', from: 'issuance', to: alice } as const
  const ids = [randomUUID(), randomUUID()] as const
  const both = await Promise.all([submit({ ...bootstrap, id: ids[0] }), submit({ ...bootstrap, id: ids[1] }, 1)])
  expect([...both].sort()).toEqual(['applied', 'conflict'])
  const unsigned = {
    ...transfer,
    id: randomUUID(),
    kind: 'grant',
    from: 'issuance',
    to: bob,
    authorisation: null,
  } as const
  expect(await submit(unsigned)).toBe('invalid')
  expect(await submit({ ...unsigned, from: alice, authorisation: Buffer.from('signed') })).toBe('invalid')
  const payment = { ...transfer, kind: 'payment', from: alice, to: bob } as const
  expect(await submit({ ...payment, id: randomUUID(), amount: 51n })).toBe('insufficient_credit')
  expect(await submit({ ...payment, id: randomUUID(), to: `user:${randomUUID()}` })).toBe('unknown_account')
  expect(await submit({ ...payment, id: randomUUID() })).toBe('applied')
  expect([(await ledger.balance(alice)).posted, (await ledger.balance(bob)).posted]).toEqual([0n, 50n])
})

test('the database itself refuses to change history, balances and names', async () => {
  const alice = await userWith(5n)
  const acts = [
    `update transfers set amount = 1`,
    `delete from transfers`,
    `truncate transfers`,
    `update entries set amount = 1`,
    `delete from entries`,
    `truncate entries`,
    `update prices set amount = 1`,
    `delete from accounts`,
    `update accounts set posted = posted + 1 where name = '${alice}'`,
    `update accounts set name = 'user:x' where name = '${alice}'`,
    `update accounts set key = null`,
    `insert into accounts (name, kind) values ('user:Eve!', 'user')`,
  ]
  for (const act of acts)
    await expect(db.sql.unsafe(act), act).rejects.toThrow(/append-only|functions of the ledger|no name/)
  expect((await ledger.balance(alice)).posted).toBe(5n)
})

test('what was rolled back is not remembered: money, accounts, and what others wrote meanwhile', async () => {
  const poison: Stage<boolean> = {
    name: 'poison',
    alwaysApplies: true,
    async apply(tx, elements) {
      await tx`select 1 / ${elements.includes(true) ? 0 : 1}::int`
      return elements.map(() => 0)
    },
  }
  const stages = [ledgerStage, poison]
  await using commit = new GroupCommit({ database: db.database, runtime: systemRuntime, stages })
  const alice = await userWith(100n)
  const hold = (amount: bigint, broken: boolean) =>
    commit.submit([part(ledgerStage, holdOf(alice, amount)), part(poison, broken)])
  expect(await hold(10n, false)).toEqual({ applied: true })
  for (let n = 0; n < 3; n++) await expect(hold(50n, true)).rejects.toThrow()
  expect(await hold(20n, false)).toEqual({ applied: true })
  expect(await ledger.balance(alice)).toMatchObject({ posted: 100n, held: 30n })
  expect(await submit(holdOf(alice, 60n))).toBe('applied')
  expect(await hold(11n, false)).toMatchObject({ applied: false })
  expect(await hold(10n, false)).toEqual({ applied: true })
  expect(await ledger.balance(alice)).toMatchObject({ held: 100n })
})

test('what a refused flush has read is not remembered: a failover may take it back', async () => {
  await userWith(10n)
  const nora = await userWith(0n)
  expect(await submit(holdOf(nora, 5n))).toBe('insufficient_credit')
  // to a replica that has seen every batch, and not yet her account; the next one made there gets its number
  const otto = `user:${randomUUID()}`
  const connection = await db.database.connect()
  await connection.transaction(async (tx) => {
    await tx`set local session_replication_role = replica`
    await tx`with gone as (delete from accounts where name = ${nora} returning id, kind, floor)
             insert into accounts (id, name, kind, floor) overriding system value select id, ${otto}, kind, floor from gone`
  })
  await connection.close()
  const grant = { op: 'transfer', kind: 'grant', from: 'issuance', to: nora, amount: 100n, at } as const
  await submit({ ...grant, id: randomUUID(), authorisation: Buffer.from('signed') })
  expect((await ledger.balance(otto)).posted).toBe(0n)
})

test('a budget that another pool has used up is used up here, also where nothing else was remembered', async () => {
  const alice = await userWith(1_000n)
  const budget: BudgetAsk = { ...unlimited, key: randomUUID(), total: 100n }
  expect(await submit(holdOf(alice, 10n, { budget }))).toBe('applied')
  await using late = new GroupCommit({ database: db.database, runtime: systemRuntime, stages: [ledgerStage] })
  expect(await submit(holdOf(`user:${randomUUID()}`, 1n, { budget }), late)).toBe('unknown_account')
  expect(await submit(holdOf(alice, 90n, { budget }))).toBe('applied')
  expect(await submit(holdOf(alice, 80n, { budget }), late)).toBe('budget_total')
})

test('an account made for a flush that was given up is made again by the next', async () => {
  const alice = await userWith(100n)
  const hold = holdOf(alice, 50n)
  const legs = [{ account: `worker:${'ef'.repeat(32)}`, amount: 5n }]
  const pay = (of: string): PostOp => ({
    op: 'post',
    id: randomUUID(),
    hold: of,
    amount: 5n,
    legs,
    tokens: 0,
    kind: 'charge',
    at,
  })
  const writer = {}
  const connection = await db.database.connect()
  const run = (op: LedgerOp, giveUp: boolean) =>
    connection.transaction(async (tx) => {
      const later: ((tx: Tx) => Promise<unknown>)[] = []
      const codes = await ledgerStage.apply(
        tx,
        [op],
        (statement) => later.push(statement),
        Promise.resolve(() => true),
        writer,
      )
      for (const statement of later) await statement(tx)
      if (giveUp) throw new Error('given up')
      return Array.from(codes, ledgerCodeName)
    })
  expect(await run(hold, false)).toEqual(['applied'])
  await expect(run(pay(randomUUID()), true)).rejects.toThrow('given up')
  expect(await run(pay(hold.id), false)).toEqual(['applied'])
  await connection.close()
  expect(await ledger.balance(legs[0]?.account ?? '')).toMatchObject({ posted: 5n })
})

test('what every flush calls is planned once, for batches of any size', async () => {
  const functions = await db.sql<{ proname: string }[]>`
    select proname from pg_proc where 'plan_cache_mode=force_generic_plan' = any (proconfig) order by proname`
  expect(functions.map(({ proname }) => proname)).toEqual(['begin_log', 'ledger_read', 'ledger_write', 'move_jobs'])
})

test('a budget that somebody changes by hand counts at once', async () => {
  const alice = await userWith(100n)
  const budget: BudgetAsk = { ...unlimited, key: randomUUID(), total: 10n }
  expect(await submit(holdOf(alice, 10n, { budget }))).toBe('applied')
  expect(await submit(holdOf(alice, 1n, { budget }))).toBe('budget_total')
  await db.sql`update budgets set reserved = 9 where key = ${budget.key}`
  expect(await submit(holdOf(alice, 1n, { budget }))).toBe('applied')
})

test('two pools that serve many people at once lose and invent nothing', async () => {
  const people = await Promise.all(Array.from({ length: 20 }, () => userWith(1_000n)))
  const [before] = await db.sql<
    { sum: bigint }[]
  >`select coalesce(sum(amount), 0)::bigint as sum from entries where amount > 0`
  const job = async (n: number): Promise<bigint> => {
    const account = people[(n * 7) % people.length] ?? ''
    const budget = { ...unlimited, key: `shared-${n % 5}` }
    const hold = holdOf(account, 30n, { budget })
    if ((await submit(hold, n % 2)) !== 'applied') return 0n
    const legs = [`worker:${String(n % 9).repeat(64)}`, 'pool'].map((name) => ({ account: name, amount: 10n }))
    expect(await submit({ ...postOf(hold.id, 20n), legs: n % 3 ? legs : legs.reverse() }, (n >> 1) % 2)).toBe('applied')
    return 20n
  }
  const paid = await Promise.all(Array.from({ length: 600 }, (_, n) => job(n)))
  const total = paid.reduce((sum, amount) => sum + amount, 0n)
  const [after] = await db.sql<{ sum: bigint }[]>`select sum(amount)::bigint as sum from entries where amount > 0`
  expect((after?.sum ?? 0n) - (before?.sum ?? 0n)).toBe(total)
  const left = await Promise.all(people.map((name) => ledger.balance(name)))
  expect(left.reduce((sum, { posted }) => sum + posted, 0n)).toBe(20_000n - total)
  expect(left.every(({ held }) => held === 0n)).toBe(true)
})
