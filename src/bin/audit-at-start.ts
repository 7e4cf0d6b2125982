import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database } from '#storage'
import { type AuditResult, auditPool } from './audit-pool.ts'
import { readAuditedPosition, writeAuditedPosition } from './audited-position.ts'
import { binLimits } from './limits.ts'

interface Needs {
  readonly database: Database
  readonly data: string
  readonly poolKey: Buffer
  readonly runtime: Runtime
  /** It takes long: the pool starts, the audit goes on. */
  readonly onLong: () => void
  /** Found wrong after the start. */
  readonly onProblem: (refusal: PoolError) => void
  /** It could not be brought to its end after the start. */
  readonly onBroken: (error: unknown) => void
}

/**
 * Audits what came since the last audit, before the pool does anything. A long one goes on beside the running pool until
 * what this resolves with is called.
 * @throws PoolError history_changed with the first thing that is wrong; what the audit itself throws.
 */
export async function auditAtStart(needs: Needs): Promise<() => Promise<void>> {
  const { runtime } = needs
  const stopping = new AbortController()
  const audit = runAudit(needs, stopping.signal)
  const inTime = new AbortController()
  const waited = runtime.sleep(binLimits.startAuditMsMax, inTime.signal).catch(() => {})
  const result = await Promise.race([audit, waited])
  inTime.abort()
  if (result) {
    refuseProblem(result)
    return async () => {}
  }
  needs.onLong()
  const going = audit.then(refuseProblem).catch((error: unknown) => {
    if (!stopping.signal.aborted) tell(needs, error)
  })
  return () => {
    stopping.abort(new Error('the pool is stopping'))
    return going
  }
}

function tell({ onProblem, onBroken }: Needs, error: unknown): void {
  if (error instanceof PoolError && error.code === 'history_changed') onProblem(error)
  else onBroken(error)
}

async function runAudit({ database, data, poolKey, runtime }: Needs, signal: AbortSignal): Promise<AuditResult> {
  const result = await auditPool(database, data, { poolKey, since: await readAuditedPosition(data), signal })
  if (result.ok) await writeAuditedPosition(data, result.position, runtime)
  return result
}

/** @throws PoolError history_changed. */
export function refuseProblem(result: AuditResult): void {
  if (result.ok) return
  throw new PoolError(
    'history_changed',
    result.problem,
    'Somebody changed the database. Keep a copy of it, then restore the last good backup: docs/operating/incident.md.',
  )
}
