import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Identity, identityFromSeed, sha256 } from '#crypto'
import { PoolKeys } from '#log'
import { SignatureChecker } from '#protocol'
import { systemRuntime } from '#runtime'
import { GroupCommit, part } from '#storage'
import { simulatedRuntime, type TestDatabase, testDatabase } from '#testkit'
import { judgeAuthorisation } from './audit-authorisations.ts'
import { Earnings } from './earnings.ts'
import { Ledger } from './ledger.ts'
import type { LedgerOp } from './ledger-op.ts'
import { ledgerStage } from './ledger-stage.ts'
import { scanTaken, scanTransfers } from './read-transfers.ts'
import { splitCharge } from './split-charge.ts'

const hour = 3_600_000
const pool: Identity = identityFromSeed(Buffer.alloc(32, 7))
const runtime = simulatedRuntime(1, Date.parse('2026-11-20T12:00:00Z'))
const operator = randomUUID()
const doubted = new Set<string>()
const appealing = new Set<string>()
const convicted: { workerId: string; because: string; at: number }[] = []

let db: TestDatabase
let ledger: Ledger
let commit: GroupCommit
let earnings: Earnings
let processes: Earnings[]

beforeAll(async () => {
  db = await testDatabase()
  ledger = new Ledger(db.database, systemRuntime)
  commit = new GroupCommit({ database: db.database, runtime: systemRuntime, stages: [ledgerStage] })
  const open = () =>
    new Earnings({
      database: db.database,
      runtime,
      poolId: sha256(pool.publicKey),
      signer: pool,
      rule: { ms: 24 * hour, payments: 3 },
      submit: (ops) => commit.submit(ops.map((op) => part(ledgerStage, op))),
      mayRelease: (id) => !doubted.has(id),
      isOwn: (id) => id === 'f'.repeat(64),
      operatorOf: async () => operator,
      checksCost: async () => 25n,
      hasOpenAppeal: async (id) => appealing.has(id),
      convictions: async () => convicted,
      whileConvicted: async (id, work) => (appealing.has(id) ? undefined : work()),
      onProblem: () => {},
    })
  processes = [open(), open()]
  earnings = processes[0] as Earnings
  await ledger.ensureAccounts([{ name: `stake:${operator}` }])
})
afterAll(async () => {
  for (const one of processes) await one[Symbol.asyncDispose]()
  await commit.stop()
  await db.drop()
})

async function submit(op: LedgerOp): Promise<void> {
  expect(await commit.submit([part(ledgerStage, op)])).toEqual({ applied: true })
}

/** A worker nobody has met; digits of its id count up. */
let met = 0
const stranger = () => (++met).toString(16).padStart(64, '0')
const posted = async (account: string) =>
  (await ledger.balances({ limit: 1_000 })).find(({ name }) => name === account)?.posted ?? 0n

async function aUser(amount = 10_000n): Promise<string> {
  const to = `user:${randomUUID()}`
  await ledger.ensureAccounts([{ name: to }])
  const authorisation = Buffer.from('signed')
  await submit({
    op: 'transfer',
    kind: 'grant',
    id: randomUUID(),
    from: 'issuance',
    to,
    amount,
    at: runtime.now(),
    authorisation,
  })
  return to
}

/** A job of this price that the worker answered. Its id. */
async function aJob(user: string, worker: string, amount = 100n): Promise<string> {
  const [id, at] = [randomUUID(), runtime.now()]
  await submit({ op: 'hold', id, account: user, amount, expiresAt: at + 60_000, at, budget: null })
  const legs = splitCharge({ amount, segments: [{ account: `held:${worker}`, tokens: 1 }] })
  await submit({ op: 'post', id: randomUUID(), hold: id, amount, legs, tokens: 1, kind: 'charge', at })
  return id
}

const conviction = (workerId: string) => ({ id: randomUUID(), workerId, because: 'tribunal 1' })

test('earnings are released when they are a day old and three payments have come in since, first in first out', async () => {
  const [user, worker] = [await aUser(), stranger()]
  for (let n = 0; n < 4; n++) await aJob(user, worker)
  await earnings.release()
  expect(await posted(`worker:${worker}`)).toBe(0n)
  runtime.jumpWallClock(25 * hour)
  await earnings.release()
  expect(await posted(`worker:${worker}`)).toBe(60n)
  await aJob(user, worker)
  await earnings.release()
  expect(await posted(`worker:${worker}`)).toBe(120n)
  await earnings.release()
  expect([await posted(`worker:${worker}`), await posted(`held:${worker}`)]).toEqual([120n, 180n])
})

test('many payments on one day are held all the same, until the day is over', async () => {
  const [user, worker] = [await aUser(), stranger()]
  for (let n = 0; n < 10; n++) await aJob(user, worker)
  runtime.jumpWallClock(23 * hour)
  await earnings.release()
  expect(await posted(`worker:${worker}`)).toBe(0n)
  runtime.jumpWallClock(2 * hour)
  await earnings.release()
  expect(await posted(`worker:${worker}`)).toBe(420n)
})

test('two processes of a pool that release at once release once', async () => {
  const [user, worker] = [await aUser(), stranger()]
  for (let n = 0; n < 5; n++) await aJob(user, worker)
  runtime.jumpWallClock(25 * hour)
  await Promise.all(processes.map((one) => one.release()))
  await earnings.release()
  expect(await posted(`worker:${worker}`)).toBe(120n)
})

test('the earnings of a worker in doubt wait, and come when the doubt is gone; the pool’s own worker waits for nothing', async () => {
  const [user, worker, own] = [await aUser(), stranger(), 'f'.repeat(64)]
  for (let n = 0; n < 4; n++) await aJob(user, worker)
  await aJob(user, own)
  runtime.jumpWallClock(25 * hour)
  doubted.add(worker)
  await earnings.release()
  expect([await posted(`worker:${worker}`), await posted(`worker:${own}`)]).toEqual([0n, 60n])
  doubted.delete(worker)
  await earnings.release()
  expect(await posted(`worker:${worker}`)).toBe(60n)
})

test('a convicted worker loses what is held and its operator’s stake; its users get the full price back, once', async () => {
  const [user, rich, worker] = [await aUser(), await aUser(), stranger()]
  const jobs = [await aJob(user, worker), await aJob(user, worker)]
  await aJob(user, worker)
  const authorisation = Buffer.from('signed')
  const stake = `stake:${operator}`
  await submit({
    op: 'transfer',
    kind: 'payment',
    id: randomUUID(),
    from: rich,
    to: stake,
    amount: 50n,
    at: runtime.now(),
    authorisation,
  })
  const [before, reserve] = [await posted(user), await posted('refund_reserve')]
  const about = conviction(worker)
  await earnings.slash(about)
  await earnings.slash(about)
  expect([await posted(`held:${worker}`), await posted(stake)]).toEqual([0n, 0n])
  expect(await posted('refund_reserve')).toBe(reserve + 180n + 50n)
  await earnings.refund(about, jobs)
  await earnings.refund({ ...about, id: randomUUID() }, [...jobs, randomUUID()])
  expect(await posted(user)).toBe(before + 200n)
  expect(await posted('refund_reserve')).toBe(reserve + 230n - 120n)
  // a day later nobody can look at its answers any more: 25 are what looking cost, the rest is burnt
  const [poolHad, supply] = [await posted('pool'), await posted('issuance')]
  await earnings.spendSlashed()
  expect(await posted('pool')).toBe(poolHad)
  runtime.jumpWallClock(26 * hour)
  await Promise.all(processes.map((one) => one.spendSlashed()))
  await earnings.spendSlashed()
  expect(await posted('refund_reserve')).toBe(reserve)
  expect((await posted('pool')) - poolHad + ((await posted('issuance')) - supply)).toBe(110n)
})

test('what nobody can pay back is the pool’s debt on record, and the user is paid all the same', async () => {
  const [user, worker] = [await aUser(), stranger()]
  const job = await aJob(user, worker)
  const drain = async (from: string) => {
    const to = `user:${randomUUID()}`
    await ledger.ensureAccounts([{ name: to }])
    const amount = await posted(from)
    const about = { op: 'transfer', kind: 'refund', id: randomUUID(), from, to, amount, at: runtime.now() } as const
    if (amount > 0n) await submit({ ...about, authorisation: Buffer.from('a test') })
  }
  for (const from of [`held:${worker}`, 'pool', 'treasury', 'refund_reserve']) await drain(from)
  await earnings.refund(conviction(worker), [job])
  expect([await posted(user), await posted('debt')]).toEqual([10_000n, -100n])
})

test('after a granted appeal what was taken goes back once, out of the reserve and then as debt; users keep what they got', async () => {
  const [user, worker] = [await aUser(), stranger()]
  const job = await aJob(user, worker)
  await aJob(user, worker)
  const about = conviction(worker)
  await earnings.slash(about)
  await earnings.refund(about, [job])
  const [before, debt] = [await posted(user), await posted('debt')]
  // while somebody may still give it back, nothing of it is burnt
  appealing.add(worker)
  runtime.jumpWallClock(26 * hour)
  const reserve = await posted('refund_reserve')
  await earnings.spendSlashed()
  expect(await posted('refund_reserve')).toBe(reserve)
  appealing.delete(worker)
  const appeal = { id: randomUUID(), workerId: worker, because: 'appeal 1' }
  await Promise.all(processes.map((one) => one.payBack(appeal)))
  await earnings.payBack(appeal)
  expect(await posted(`worker:${worker}`)).toBe(120n)
  expect([await posted('refund_reserve'), await posted('debt')]).toEqual([
    reserve < 120n ? 0n : reserve - 120n,
    debt - (reserve < 120n ? 120n - reserve : 0n),
  ])
  expect(await posted(user)).toBe(before)
  await earnings.spendSlashed()
  // a second appeal finds nothing that is still gone
  await earnings.payBack({ ...appeal, id: randomUUID() })
  expect(await posted(`worker:${worker}`)).toBe(120n)
})

test('twice convicted and once heard: what comes in late pays for late refunds, what is earned anew is not touched for what is forgiven, and every sum is kept', async () => {
  const [user, worker] = [await aUser(), stranger()]
  const [held, own] = [`held:${worker}`, `worker:${worker}`]
  const supply = async () => (await ledger.balances({ limit: 1_000 })).reduce((sum, one) => sum + one.posted, 0n)
  const moves = async () =>
    (await scanTaken(db.sql, Buffer.from(worker, 'hex'))).map(
      ({ kind, from, to, amount }) => `${kind} ${from.split(':')[0]} ${to[0]?.account.split(':')[0]} ${amount}`,
    )
  // convicted for one answer of two; what it was still writing is paid into what is held, and not released
  const jobs = [await aJob(user, worker), await aJob(user, worker)]
  const first = conviction(worker)
  await earnings.slash(first)
  await earnings.refund(first, jobs.slice(0, 1))
  const late = await aJob(user, worker)
  doubted.add(worker)
  runtime.jumpWallClock(2 * hour)
  await earnings.release()
  expect([await posted(held), await posted(own)]).toEqual([60n, 0n])
  // the late answer is found false, too: its own price pays for it, and nobody else's
  const reserve = await posted('refund_reserve')
  await earnings.refund({ ...first, because: 'check 3' }, [late])
  expect([await posted(held), await posted('refund_reserve')]).toEqual([0n, reserve])
  expect(await posted(user)).toBe(9_900n)

  // heard: what was slashed and what paid for the late refund goes back; users keep both refunds
  await earnings.payBack({ id: randomUUID(), workerId: worker, because: 'appeal 1' })
  doubted.delete(worker)
  expect([await posted(own), await posted(user)]).toEqual([180n, 9_900n])
  // earned anew. The first conviction has taken all it will ever take: nothing is refunded twice
  const again = [await aJob(user, worker), await aJob(user, worker), await aJob(user, worker)]
  await earnings.refund({ ...first, id: randomUUID() }, [...jobs.slice(0, 1), late])
  expect(await posted(held)).toBe(180n)

  // convicted again: only what is held now is taken, and what went back stays
  const second = { ...conviction(worker), because: 'tribunal 2' }
  await earnings.slash(second)
  await earnings.refund(second, again.slice(0, 1))
  expect([await posted(held), await posted(own)]).toEqual([0n, 180n])
  const pool = ['refund pool user 30', 'refund treasury user 10']
  const found = await moves()
  expect(found.filter((move) => !move.startsWith('restitution')).sort()).toEqual(
    [
      ...['slash held refund_reserve 120', 'refund refund_reserve user 60', ...pool],
      ...['refund held user 60', ...pool],
      ...['slash held refund_reserve 180', 'refund refund_reserve user 60', ...pool],
    ].sort(),
  )
  // of two convictions together is left what neither users nor the worker got: once, and no more than there is
  runtime.jumpWallClock(26 * hour)
  const before = await posted('refund_reserve')
  await earnings.spendSlashed()
  await earnings.spendSlashed()
  const debt = found.find((move) => move.startsWith('restitution debt'))?.split(' ')[3]
  const left = 120n + 180n - 60n - 60n - (180n - BigInt(debt ?? 0))
  expect(before - (await posted('refund_reserve'))).toBe(left > 0n ? left : 0n)
  // a second granted appeal gives the second conviction back, and not the first again
  await earnings.payBack({ id: randomUUID(), workerId: worker, because: 'appeal 2' })
  expect(await posted(own)).toBe(360n)
  expect(await supply()).toBe(0n)
})

test('what comes in for a convicted worker after its slash is not held for ever: it waits for looks and an appeal, then goes the same way', async () => {
  const [user, worker] = [await aUser(), stranger()]
  const held = `held:${worker}`
  await aJob(user, worker)
  const about = conviction(worker)
  await earnings.slash(about)
  convicted.push({ workerId: worker, because: about.because, at: runtime.now() })
  doubted.add(worker)
  await aJob(user, worker)
  runtime.jumpWallClock(24 * hour)
  await earnings.slashLate()
  expect(await posted(held), 'an answer of that time may still be found false').toBe(60n)
  appealing.add(worker)
  runtime.jumpWallClock(2 * hour)
  await earnings.slashLate()
  expect(await posted(held), 'an admin may still grant its appeal').toBe(60n)
  appealing.delete(worker)
  const [reserve, burnt, pool] = [await posted('refund_reserve'), await posted('issuance'), await posted('pool')]
  await Promise.all(processes.map((one) => one.slashLate().then(() => one.spendSlashed())))
  expect([await posted(held), await posted('refund_reserve')]).toEqual([0n, reserve + 60n])
  // once more so long, and all of both slashes is spent
  runtime.jumpWallClock(26 * hour)
  await earnings.slashLate()
  await earnings.spendSlashed()
  expect(await posted('refund_reserve')).toBe(reserve - 60n)
  expect((await posted('pool')) - pool + ((await posted('issuance')) - burnt)).toBe(120n)
  convicted.length = 0
})

test('every move is signed by the pool and says why; nobody else’s signature counts', async () => {
  const rows = (await scanTransfers(db.sql, null, 1_000)).filter(
    ({ authorisation }) => (authorisation?.length ?? 0) > 20,
  )
  expect(new Set(rows.map(({ kind }) => kind))).toEqual(new Set(['release', 'slash', 'refund', 'restitution']))
  const facts = { keys: new PoolKeys(pool.publicKey), adminKeys: new Set<string>(), payerKeys: () => new Set<string>() }
  const checker = new SignatureChecker()
  for (const row of rows) {
    expect(judgeAuthorisation(row, facts, checker)).toBeUndefined()
    const other = row.kind === 'slash' ? 'refund' : 'slash'
    expect(judgeAuthorisation({ ...row, kind: other }, facts, checker)).toContain('something else')
    expect(judgeAuthorisation({ ...row, amount: row.amount + 1n }, facts, checker)).toContain('something else')
    const stranger = { ...facts, keys: new PoolKeys(identityFromSeed(Buffer.alloc(32, 8)).publicKey) }
    expect(judgeAuthorisation(row, stranger, checker)).toBeDefined()
  }
})

test('a conviction that races with settlements and releases takes what is there; what comes in later is held, and no micro-credit is lost', async () => {
  const [user, worker] = [await aUser(), stranger()]
  for (let n = 0; n < 8; n++) await aJob(user, worker)
  runtime.jumpWallClock(25 * hour)
  const about = conviction(worker)
  const settle = async () => {
    for (let n = 0; n < 6; n++) await aJob(user, worker)
  }
  const convict = async () => {
    doubted.add(worker)
    await Promise.all(processes.map((one) => one.slash(about)))
  }
  await Promise.all([settle(), settle(), ...processes.map((one) => one.release()), convict(), settle()])
  const released = await posted(`worker:${worker}`)
  const slashed = (await scanTaken(db.database.sql, Buffer.from(worker, 'hex')))
    .filter(({ kind, from }) => kind === 'slash' && from === `held:${worker}`)
    .map(({ amount }) => amount)
  expect(slashed).toHaveLength(1)
  const held = await posted(`held:${worker}`)
  expect(released + held + slashed.reduce((sum, one) => sum + one, 0n)).toBe(26n * 60n)
  // What was settled behind the slash stays where it is.
  runtime.jumpWallClock(48 * hour)
  await earnings.release()
  await earnings.slash(about)
  expect([await posted(`worker:${worker}`), await posted(`held:${worker}`)]).toEqual([released, held])
  doubted.delete(worker)
})
