import type { Settings } from '#config'
import { PoolError } from '#protocol'
import { auditSampling } from '#verification'
import { openForCommand, refuseMissingFolder, refuseOtherSchema } from './pool-database.ts'

/**
 * `lichen audit sampling`: every decision of an epoch, made again from what the pool has told. `onLine` hears the disclosure.
 * @throws PoolError history_changed with the first thing that is wrong; invalid_request when the epoch is not told yet.
 */
export async function runAuditSampling(settings: Settings, epoch: number, onLine: (text: Buffer) => void) {
  await refuseMissingFolder(settings.data)
  await using opened = await openForCommand(settings)
  const { database } = opened
  await refuseOtherSchema(database)
  const result = await auditSampling(database.sql, epoch, onLine)
  if (result.ok) return result.count
  throw new PoolError(
    'history_changed',
    result.problem,
    'Keep the data folder as it is, and ask whoever runs the pool.',
  )
}
