import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { leafHash } from '#crypto'
import { systemRuntime } from '#runtime'
import { bytes, GroupCommit, part, texts } from '#storage'
import { type TestDatabase, testDatabase } from '#testkit'
import { auditLedger } from './audit.ts'
import { type LedgerOp, ledgerCodeName, ledgerCodes } from './ledger-op.ts'
import { ledgerStage } from './ledger-stage.ts'
import { scanTransfers } from './read-transfers.ts'
import { ReferenceLedger } from './reference-model.ts'
import { leafOfRow } from './transfer-leaf.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
})
afterAll(() => db.drop())

const uuid = (n: number) => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`
const user = (n: number) => `user:${uuid(n)}`
const worker = (n: number) => `worker:${n.toString(16).padStart(64, '0')}`
const start = Date.parse('2026-11-20T23:59:30Z')

/** What somebody wishes; numbers point at earlier wishes, so that any of them may be left out when a case is shrunk. */
interface Wish {
  readonly what: 'hold' | 'post' | 'void' | 'expire' | 'grant' | 'bootstrap' | 'payment' | 'again'
  readonly who: number
  readonly other: number
  readonly amount: number
  readonly key: number
  readonly tight: boolean
  readonly seconds: number
  readonly sameId: number | null
}

const wish: fc.Arbitrary<Wish> = fc.record({
  what: fc.oneof(
    { weight: 8, arbitrary: fc.constant('hold' as const) },
    { weight: 7, arbitrary: fc.constant('post' as const) },
    {
      weight: 7,
      arbitrary: fc.constantFrom('void', 'expire', 'grant', 'payment', 'again') as fc.Arbitrary<Wish['what']>,
    },
    { weight: 1, arbitrary: fc.constant('bootstrap' as const) },
  ),
  who: fc.nat(4),
  other: fc.nat(40),
  amount: fc.oneof({ weight: 9, arbitrary: fc.nat(60) }, { weight: 1, arbitrary: fc.constantFrom(-1, 0, 1e15, 2e15) }),
  key: fc.nat(3),
  tight: fc.boolean(),
  seconds: fc.integer({ min: -20, max: 90 }),
  sameId: fc.option(fc.nat(30), { freq: 12 }),
})

const noLimits = { total: null, perDay: null, requestsPerMinute: null, tokensPerMinute: null }
const tightLimits = [{ total: 120n }, { perDay: 90n }, { requestsPerMinute: 2 }, { tokensPerMinute: 60 }] as const

/** Turns wishes into operations one after the other: some refer to holds that were wished for before. */
function toOps(wishes: readonly Wish[]): LedgerOp[] {
  const ops: LedgerOp[] = []
  const holds: string[] = []
  let clock = start
  for (const [n, { what, who, other, amount: size, key, tight, seconds, sameId }] of wishes.entries()) {
    clock += seconds * 50
    const at = clock
    const id = uuid(sameId === null || n === 0 ? 1_000 + n : 1_000 + Math.max(0, n - 1 - (sameId % n)))
    const amount = BigInt(size)
    const hold = holds[holds.length - 1 - (other % Math.max(1, Math.min(8, holds.length)))] ?? uuid(77)
    const tokens = size % 40
    const authorisation = Buffer.from(`signed ${who}`)
    const earlier = ops[ops.length - 1 - (other % Math.max(1, ops.length))]
    if (what === 'again' && earlier) ops.push(earlier)
    else if (what === 'hold') {
      const limits = { ...noLimits, ...(tight ? tightLimits[other % 4] : {}) }
      const budget = key === 3 ? null : { key: `key-${key}`, ...limits, tokens }
      ops.push({ op: 'hold', id, account: user(who), amount, expiresAt: at + 30_000, at, budget })
      holds.push(id)
    } else if (what === 'post') {
      const worth = amount > 2n ? [amount - 2n, 1n, 1n] : [amount]
      const payees = [worker(other % 3), 'pool', 'treasury']
      const legs = worth
        .map((part, n) => ({ account: payees[n] ?? '', amount: part }))
        .filter((leg) => leg.amount !== 0n)
      ops.push({
        op: 'post',
        id,
        hold,
        amount,
        legs: tight && other === 7 ? legs.slice(1) : legs,
        tokens,
        kind: 'charge',
        at,
      })
    } else if (what === 'void' || what === 'expire')
      ops.push({ op: what, id, hold, at: what === 'expire' ? at + 40_000 : at })
    else {
      const kind = what === 'again' ? 'grant' : what
      const from = kind === 'payment' ? user(who) : 'issuance'
      ops.push({
        op: 'transfer',
        id,
        kind,
        from,
        to: user(other % 6),
        amount,
        at,
        authorisation: key === 3 && tight ? null : authorisation,
      })
    }
  }
  return ops
}

/** An empty ledger with five users. As superuser: the tables themselves refuse it. */
async function reset(): Promise<void> {
  await db.database.transaction(async (tx) => {
    await tx.unsafe(`set local session_replication_role = replica;
      truncate accounts, transfers, entries, holds, budgets, log_leaves;
      insert into accounts (name, kind, floor)
        select n, split_part(n, ':', 1), floor_of(split_part(n, ':', 1))
          from unnest(array['issuance', 'pool', 'treasury', 'refund_reserve']) n;`)
    await tx`insert into accounts (name, kind) select n, 'user' from unnest(${[0, 1, 2, 3, 4].map(user)}::text[]) n`
  })
}

async function logLeaves(): Promise<void> {
  const rows = await scanTransfers(db.sql, null, 10_000)
  await db.sql`
    insert into log_leaves (index, kind, ref, hash)
    select row_number() over () - 1, 'transfer', t.ref, t.hash
      from unnest(${texts(rows.map((row) => row.id))}::text[],
                  ${bytes(rows.map((row) => leafHash(leafOfRow(row))))}::bytea[]) t (ref, hash)`
}

/** The tables against the maps. */
async function compare(model: ReferenceLedger): Promise<void> {
  const accounts = await db.sql<
    { name: string; posted: bigint; held: bigint }[]
  >`select name, posted, held from accounts`
  expect(new Map(accounts.map((a) => [a.name, a.posted]))).toEqual(model.balances)
  for (const { name, posted, held } of accounts) {
    expect(held, name).toBe(model.held(name))
    if (name !== 'issuance') expect(posted - held, name).toBeGreaterThanOrEqual(0n)
  }
  expect(accounts.reduce((sum, { posted }) => sum + posted, 0n)).toBe(0n)
  const holds = await db.sql<{ id: string }[]>`select id from holds`
  expect(new Set(holds.map(({ id }) => id))).toEqual(new Set(model.holds.keys()))
  const budgets = await db.sql<{ key: string; used: bigint }[]>`select key, spent + reserved as used from budgets`
  for (const { key, used } of budgets) expect(used, key).toBe(model.used(key))
}

test('whatever people do, in batches or one by one, the tables say what three maps say', async () => {
  const seen = new Map<string, number>()
  let count = 0
  const plans = fc.array(fc.array(wish, { minLength: 1, maxLength: 60, size: 'max' }), {
    minLength: 1,
    maxLength: 24,
    size: 'max',
  })
  await fc.assert(
    fc.asyncProperty(plans, async (batches) => {
      await reset()
      const options = { database: db.database, runtime: systemRuntime, stages: [ledgerStage] }
      await using one = new GroupCommit(options)
      await using other = new GroupCommit(options)
      const model = new ReferenceLedger()
      model.open(...[0, 1, 2, 3, 4].map(user))
      const ops = toOps(batches.flat())
      const grants = [0, 1, 2].map((n) => {
        const grant = { op: 'transfer', kind: 'grant', from: 'issuance', to: user(n), amount: 300n } as const
        return { ...grant, id: uuid(900 + n), at: start, authorisation: Buffer.from('admin') }
      })
      for (const batch of [grants, ...batches.map((wishes) => ops.splice(0, wishes.length))]) {
        // two pool processes: neither may believe what it remembers after a batch of the other
        const commit = (batch[0]?.at ?? 0) % 3 === 0 ? other : one
        const outcomes = await Promise.all(batch.map((op) => commit.submit([part(ledgerStage, op)])))
        const codes = outcomes.map((outcome) => (outcome.applied ? 'applied' : ledgerCodeName(outcome.code)))
        expect(codes).toEqual(batch.map((op) => model.apply(op)))
        for (const code of codes) seen.set(code, (seen.get(code) ?? 0) + 1)
        count += batch.length
      }
      await compare(model)
      await logLeaves()
      expect(await auditLedger(db.sql)).toMatchObject({ ok: true })
    }),
    { numRuns: 40, endOnFailure: true },
  )
  expect(count).toBeGreaterThan(10_000)
  expect([...seen.keys()].sort()).toEqual(Object.keys(ledgerCodes).sort())
}, 120_000)
