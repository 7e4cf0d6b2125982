import { sha256 } from '#crypto'
import { decodeSigned, type SignatureChecker, type StatedLook } from '#protocol'
import { type Sql, uuids } from '#storage'
import type { AnswerSeen } from './check-columns.ts'

/** A look on record that a receipt tells of, too. */
export interface MutualLookOnRecord extends AnswerSeen {
  readonly verifier: string
  readonly says: string
  readonly why: string | null
  readonly score: number | null
  readonly commitment: Buffer | null
}

/** Looks of these jobs, in the order they were written down. */
export async function readMutualLooks(sql: Sql, jobs: readonly string[]): Promise<Map<string, MutualLookOnRecord[]>> {
  const rows = await sql<MutualLookOnRecord[]>`
    select job_id as "jobId", choice, attempt, worker_id as "workerId", model, digest, epoch::float8 as epoch, verifier, says, why, score,
           commitment
      from mutual_looks where job_id = any (${uuids([...jobs])}::uuid[]) order by id`
  return Map.groupBy(rows, ({ jobId }) => jobId)
}

/** What is read of a receipt that is known to be right. */
export interface ToldLooks {
  readonly model: string
  readonly epoch: number
  readonly segments: readonly { readonly choice: number; readonly attempt: number; readonly worker: Buffer }[]
  readonly checks?: readonly StatedLook[] | undefined
}

/** What is wrong with the looks of a job, as the end of "The receipt of job …"; undefined: nothing. */
export function judgeMutualLooks(
  rows: readonly MutualLookOnRecord[],
  { model, epoch, segments, checks = [] }: ToldLooks,
  checker: SignatureChecker,
): string | undefined {
  if (rows.length !== checks.length)
    return `tells of ${checks.length} looks side by side, and ${rows.length} are on record`
  const nameOf = ({ choice, attempt }: { choice: number; attempt: number }) => `${choice}/${attempt}`
  const rowOf = new Map(rows.map((row) => [`${nameOf(row)} ${row.verifier}`, row]))
  for (const look of checks) {
    const verifier = look.verifier.toString('hex')
    const row = rowOf.get(`${nameOf(look)} ${verifier}`)
    const of = segments.find((segment) => nameOf(segment) === nameOf(look))?.worker.toString('hex')
    const which = `of attempt ${nameOf(look)} by worker ${verifier}`
    if (!row) return `tells of a look ${which}, which is gone`
    const isSame =
      row.says === look.outcome &&
      row.why === look.why &&
      (row.score === null ? null : row.score.toFixed(6)) === look.score &&
      row.workerId === of &&
      row.model === model &&
      row.epoch === epoch
    if (!isSame) return `tells of a look ${which}, and its row says something else`
    if (row.commitment !== null && !isSignedBy(row.commitment, verifier, checker))
      return `tells of a look ${which}, who has not signed for it`
  }
  return undefined
}

/** Whether a commitment/1 is one of this worker. */
export function isSignedBy(commitment: Buffer, verifier: string, checker: SignatureChecker): boolean {
  const decoded = decodeSigned(commitment, 'commitment/1')
  if (!decoded.ok) return false
  const { message, signature, hash } = decoded.signed
  const ids = [message.worker, sha256(signature.key)].map((id) => id.toString('hex'))
  return ids.every((id) => id === verifier) && checker.verify(signature, hash)
}
