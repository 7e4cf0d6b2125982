import { expect, test } from 'vitest'
import { type LedgerOp, ledgerStage } from '#ledger'
import { systemRuntime } from '#runtime'
import { GroupCommit, part, texts } from '#storage'
import { testDatabase } from '../../testkit/test-database.ts'
import { LabMoney } from './lab-money.ts'
import { LabPool } from './lab-pool.ts'
import { zoo } from './zoo.ts'

const requests = 20_000
/** Submitted at the same time; the ledger takes them in their order. */
const atOnce = 500

test('what a pool with cheaters earns, pays back and loses in 20,000 requests is the same, account by account, in the real ledger', async () => {
  const ops: LedgerOp[] = []
  const money = new LabMoney((op) => ops.push(op))
  const pool = new LabPool('real ledger', 8, 0.3, undefined, money)
  const [cached, sparse] = ['cached', 'sparse'].map((wanted) => zoo.find(({ name }) => name === wanted))
  const [one, other] = pool.workers
  if (!one || !other || !cached || !sparse) throw new Error('the cheaters are missing')
  one.become(cached)
  // Honest until its earnings are released, so that refunds meet what it was paid.
  for (let round = 0; pool.tally.requests < requests; round++) {
    if (round === 1_000) other.become(sparse)
    pool.round()
  }
  pool.close()
  expect([one.convicted, other.convicted]).toEqual([true, true])
  expect(new Set(ops.flatMap((op) => (op.op === 'transfer' ? op.kind : op.op)))).toEqual(
    new Set(['grant', 'hold', 'post', 'release', 'refund', 'slash']),
  )

  const home = await testDatabase()
  try {
    const users = [...money.balances.keys()].filter((name) => name.startsWith('user:'))
    await home.sql`insert into accounts (name, kind) select n, 'user' from unnest(${texts(users)}::text[]) n`
    await using commit = new GroupCommit({ database: home.database, runtime: systemRuntime, stages: [ledgerStage] })
    for (let at = 0; at < ops.length; at += atOnce) {
      const batch = ops.slice(at, at + atOnce).map((op) => commit.submit([part(ledgerStage, op)]))
      for (const outcome of await Promise.all(batch)) expect(outcome).toEqual({ applied: true })
    }
    const rows = await home.sql<
      { name: string; posted: bigint; held: bigint }[]
    >`select name, posted, held from accounts`
    const real = new Map(rows.filter(({ posted }) => posted !== 0n).map(({ name, posted }) => [name, posted]))
    expect(real).toEqual(new Map([...money.balances].filter(([, balance]) => balance !== 0n)))
    expect(rows.every(({ held }) => held === 0n)).toBe(true)
  } finally {
    await home.drop()
  }
}, 120_000)
