import { afterAll, beforeAll, expect, test } from 'vitest'
import { Ledger, type LedgerOp, ledgerStage } from '#ledger'
import { systemRuntime } from '#runtime'
import { GroupCommit, part } from '#storage'
import { type TestDatabase, testDatabase } from '#testkit'
import { Standings } from '#verification'
import { convictionsPaid } from './open-earnings.ts'

let db: TestDatabase
let standings: Standings
let commit: GroupCommit
const user = `user:${systemRuntime.uuid()}`
beforeAll(async () => {
  db = await testDatabase()
  standings = await Standings.open({ database: db.database, runtime: systemRuntime })
  commit = new GroupCommit({ database: db.database, runtime: systemRuntime, stages: [ledgerStage] })
  await new Ledger(db.database, systemRuntime).ensureAccounts([{ name: user }])
  const authorisation = Buffer.from('signed')
  const grant = { kind: 'grant', from: 'issuance', to: user, amount: 1_000n, at: systemRuntime.now() } as const
  await submit({ op: 'transfer', id: systemRuntime.uuid(), ...grant, authorisation })
})
afterAll(async () => {
  standings[Symbol.dispose]()
  await commit.stop()
  await db.drop()
})

async function submit(op: LedgerOp): Promise<void> {
  expect(await commit.submit([part(ledgerStage, op)])).toEqual({ applied: true })
}

async function paid(workerId: string): Promise<void> {
  const [hold, at] = [systemRuntime.uuid(), systemRuntime.now()]
  await submit({ op: 'hold', id: hold, account: user, amount: 10n, expiresAt: at + 60_000, at, budget: null })
  const legs = [{ account: `held:${workerId}`, amount: 10n }]
  await submit({ op: 'post', id: systemRuntime.uuid(), hold, amount: 10n, legs, tokens: 1, kind: 'charge', at })
}

const convict = (workerId: string, because: string) =>
  db.database.transaction((tx) =>
    standings.decide(tx, { workerId, model: 'm', duty: 'serve' }, { kind: 'refuted' }, because),
  )
const ofThem = async () => (await convictionsPaid(db.database)).map(({ workerId, because }) => [workerId, because])

test('whose late earnings are looked for: the convicted, once they were slashed and as long as the conviction stands', async () => {
  const [ann, bob, cy] = ['a', 'b', 'c'].map((digit) => digit.repeat(64)) as [string, string, string]
  for (const worker of [ann, bob, cy]) await paid(worker)
  await convict(ann, 'tribunal 1')
  await convict(bob, 'tribunal 2')
  expect(await ofThem(), 'nobody was slashed yet').toEqual([])
  await db.sql`update standing_acts set done_at = now() where act = 'slash'`
  expect(await ofThem()).toEqual([
    [ann, 'tribunal 1'],
    [bob, 'tribunal 2'],
  ])
  await db.database.transaction((tx) => standings.reset(tx, bob))
  expect(await ofThem()).toEqual([[ann, 'tribunal 1']])
})
