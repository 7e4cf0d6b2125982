import type { Settings } from '#config'
import { readRootAt } from '#log'
import { PoolError } from '#protocol'
import { systemRuntime } from '#runtime'
import { refuseProblem } from './audit-at-start.ts'
import { type AuditCounts, auditPool } from './audit-pool.ts'
import { readAuditedPosition, writeAuditedPosition } from './audited-position.ts'
import { openForCommand, poolKeyOf, refuseMissingFolder, refuseOtherSchema } from './pool-database.ts'

/** What an audit that found nothing says. */
export interface CleanAudit {
  readonly ok: true
  readonly checked: AuditCounts
  /** Leaves of the checkpoint outside the database; null when there is none. */
  readonly outside: number | null
}

/**
 * `lichen audit`: from the first leaf, from where the last audit ended, or from a leaf by its number.
 * @throws PoolError history_changed with the first thing that is wrong.
 */
export async function runAudit(
  settings: Settings,
  since: 'last' | number | undefined,
  onProgress?: (step: string, done: number, of: number) => void,
): Promise<CleanAudit> {
  const { data } = settings
  await refuseMissingFolder(data)
  const { publicKey: poolKey } = await poolKeyOf(data)
  await using opened = await openForCommand(settings)
  const { database } = opened
  await refuseOtherSchema(database)
  const position = await positionOf(since, () => readAuditedPosition(data), database)
  const result = await auditPool(database, data, { poolKey, since: position, ...(onProgress ? { onProgress } : {}) })
  refuseProblem(result)
  if (!result.ok) throw new Error('a problem that was not refused')
  // leaves before a number were not looked at by anybody
  if (typeof since !== 'number') await writeAuditedPosition(data, result.position, systemRuntime)
  return { ok: true, checked: result.counts, outside: result.outside }
}

async function positionOf(
  since: 'last' | number | undefined,
  last: () => ReturnType<typeof readAuditedPosition>,
  { sql }: Parameters<typeof refuseOtherSchema>[0],
) {
  if (since === undefined) return undefined
  if (since === 'last') return last()
  const root = await readRootAt(sql, since)
  if (root) return { size: since, root }
  throw new PoolError('invalid_request', `The log does not have ${since} leaves.`, 'See `GET /v1/log/checkpoint`.')
}
