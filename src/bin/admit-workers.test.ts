import { expect, test } from 'vitest'
import { generateIdentity } from '#crypto'
import { Identity } from '#identity'
import type { PoolEvents } from '#observability'
import { parseWorkerId, type WorkerId } from '#protocol'
import { systemRuntime } from '#runtime'
import { eventually, testDatabase } from '#testkit'
import { followWorkerKeys } from './admit-workers.ts'

test('a pool that is started again acts on what was just decided of a worker, and does not log it as news', async () => {
  await using db = await testDatabase()
  using before = new Identity(db.database, systemRuntime)
  const keys = generateIdentity(systemRuntime)
  const worker = parseWorkerId(keys.id) as WorkerId
  const { token } = await before.invite({ operator: 'ann', by: 'ann' })
  await before.admitWorker({ publicKey: keys.publicKey, id: worker, token })
  await before.approveWorker(worker, 'ann')

  using after = new Identity(db.database, systemRuntime)
  const told: string[] = []
  const logged: string[] = []
  const workers = {
    standingChanged: (_: WorkerId, { standing }: { standing: string }) => void told.push(standing),
    disconnect: () => told.push('disconnected') > 0,
    disconnectFrom: () => [],
  }
  const events = { keyDecided: ({ standing }: { standing: string }) => void logged.push(standing) }
  followWorkerKeys(after, { workers, handOut: { barred() {} } }, events as Partial<PoolEvents> as PoolEvents)
  await eventually('the session to hear it', () => told.length > 0)
  expect({ told, logged }).toEqual({ told: ['approved'], logged: [] })

  await before.revokeWorker(worker, 'ann')
  await eventually('the log to say it', () => logged.length > 0)
  expect({ told, logged }).toEqual({ told: ['approved', 'disconnected'], logged: ['revoked'] })
})
