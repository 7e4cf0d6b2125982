import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { claimDatabase, loadPoolIdentity, type PoolIdentity } from '#identity'
import { TransparencyLog } from '#log'
import { systemRuntime } from '#runtime'
import { type TestDatabase, temporaryFolder, testDatabase } from '#testkit'
import { auditAtStart } from './audit-at-start.ts'
import { readAuditedPosition } from './audited-position.ts'

let db: TestDatabase
let folder: ReturnType<typeof temporaryFolder>
let pool: PoolIdentity
beforeEach(async () => {
  db = await testDatabase()
  folder = temporaryFolder()
  pool = await loadPoolIdentity(folder.path, systemRuntime)
  await claimDatabase(db.database, pool.poolId)
  const { database } = db
  const log = { database, runtime: systemRuntime, poolId: pool.poolId, signer: pool.identity, dataDir: folder.path }
  await (await TransparencyLog.open(log))[Symbol.asyncDispose]()
})
afterEach(async () => {
  folder[Symbol.dispose]()
  await db.drop()
})

/** A start that has hardly any patience, unless it is given some. */
function start(patienceMs = 100) {
  const heard = { onLong: vi.fn(), onProblem: vi.fn(), onBroken: vi.fn() }
  const runtime = {
    ...systemRuntime,
    sleep: (_: number, signal?: AbortSignal) => systemRuntime.sleep(patienceMs, signal),
  }
  const needs = { database: db.database, data: folder.path, poolKey: pool.identity.publicKey, runtime, ...heard }
  return { ...heard, stop: auditAtStart(needs) }
}

const tamper = (edit: string) =>
  db.database.transaction((tx) => tx.unsafe(`set local session_replication_role = replica; ${edit}`))

/** Nobody can read the price list until it is called. */
async function holdPrices(): Promise<() => Promise<void>> {
  const connection = await db.database.connect()
  await connection.tx.unsafe('begin; lock table prices in access exclusive mode')
  return async () => {
    await connection.tx.unsafe('rollback')
    await connection.close()
  }
}

test('a short audit is over before the pool starts, and the next one begins where it ended', async () => {
  const { stop, onLong } = start(30_000)
  await (await stop)()
  expect(onLong).not.toHaveBeenCalled()
  expect(await readAuditedPosition(folder.path)).toMatchObject({ size: 0 })
})

test('a history that was changed keeps the pool from starting', async () => {
  await tamper('update prices set amount = 1 where seq = 1')
  await expect(start(30_000).stop).rejects.toMatchObject({ code: 'history_changed' })
  expect(await readAuditedPosition(folder.path)).toBeUndefined()
})

test('a long audit goes on beside the pool, and tells what it finds', async () => {
  await tamper('update prices set amount = 1 where seq = 1')
  const release = await holdPrices()
  const { stop, onLong, onProblem, onBroken } = start()
  await stop
  expect(onLong).toHaveBeenCalledOnce()
  expect(onProblem).not.toHaveBeenCalled()
  await release()
  await vi.waitFor(() => expect(onProblem).toHaveBeenCalledOnce(), 10_000)
  expect(onBroken).not.toHaveBeenCalled()
})

test('a pool that stops does not wait for its audit', async () => {
  const release = await holdPrices()
  const { stop, onProblem, onBroken } = start()
  await (await stop)()
  expect([onProblem, onBroken].map((heard) => heard.mock.calls)).toEqual([[], []])
  await release()
})
