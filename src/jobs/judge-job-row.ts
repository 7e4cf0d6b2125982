import type { TransferRow } from '#ledger'
import { type AssuranceLevel, copiesOf, type PoolStatement, type WorkerStatement } from '#protocol'
import { jobsLimits } from './limits.ts'

/** What the row of a settled job says that its order, hold and receipt say too. Times are milliseconds since 1970. */
export interface SettledRow {
  readonly state: string
  readonly kind: string
  readonly keyId: string
  readonly model: string
  readonly digest: string | null
  readonly acceptedAt: number
  readonly deadlineAt: number
  readonly endedAt: number | null
  readonly promptTokens: number | null
  readonly completionTokens: number | null
}

/** What the row of one attempt says that the receipt says too. */
export interface SettledSegment {
  readonly choice: number
  readonly attempt: number
  readonly workerId: string
  readonly digest: string | null
  readonly pieces: number
  readonly promptClaim: number | null
  readonly completionClaim: number | null
  readonly signed: boolean
}

/** The same, of one receipt that is known to be right. */
export interface Settled {
  readonly statement: PoolStatement
  /** Those of the segments that are signed, in their order. */
  readonly workers: readonly WorkerStatement[]
  readonly hold: TransferRow | undefined
}

/** What is wrong with a job's row and its attempts, as the end of "The receipt of job …"; undefined: nothing. */
export function judgeJobRow(
  row: SettledRow | undefined,
  segments: readonly SettledSegment[],
  settled: Settled,
): string | undefined {
  const { statement, hold } = settled
  if (!row) return `says ${statement.state}, and the job's row is gone`
  if (row.state !== statement.state) return `says ${statement.state}, and the job's row ${row.state}`
  const said: readonly (readonly [string, unknown, unknown])[] = [
    ['kind', statement.kind, row.kind],
    ['model', statement.model, row.model],
    ['model file', statement.digest?.toString('hex') ?? null, row.digest],
    ['time of acceptance', statement.acceptedAt, row.acceptedAt],
    ['end', statement.endedAt, row.endedAt],
    ['key', hold?.key, row.keyId],
    ['deadline', hold?.expiresAt, row.deadlineAt + jobsLimits.holdSlackMs],
  ]
  const other = said.find(([, theirs, ours]) => theirs !== ours)
  if (other) return `and its hold say another ${other[0]} than the job's row`
  return judgeCounts(row, statement) ?? judgeSegments(segments, settled)
}

/** What was relayed is at least what is billed, and is just that where every worker has signed and each answer was billed once. */
function judgeCounts(row: SettledRow, { usage, segments, price, assurance }: PoolStatement): string | undefined {
  // An end that was written for a dead process counts nothing.
  const counted = [row.promptTokens ?? 0, row.completionTokens ?? 0]
  const billed = [usage.prompt, usage.completion]
  const alike = counted.every((tokens, n) => tokens === billed[n])
  const several = copiesOf(assurance.asked as AssuranceLevel) > 1
  if (alike || price === 0n || several || segments.some(({ signed }) => !signed)) return undefined
  return `bills ${billed.join(' and ')} tokens, and the job's row counts ${counted.join(' and ')}`
}

function judgeSegments(rows: readonly SettledSegment[], { statement, workers }: Settled): string | undefined {
  const nameOf = ({ choice, attempt }: { choice: number; attempt: number }) => `${choice}/${attempt}`
  const rowOf = new Map(rows.map((row) => [nameOf(row), row]))
  const claims = [...workers]
  for (const segment of statement.segments) {
    const row = rowOf.get(nameOf(segment))
    rowOf.delete(nameOf(segment))
    if (!row) return `names attempt ${nameOf(segment)}, which is gone`
    const claim = segment.signed ? claims.shift() : undefined
    const said: readonly (readonly [string, unknown, unknown])[] = [
      ['worker', segment.worker.toString('hex'), row.workerId],
      ['count of tokens', segment.tokens, row.pieces],
      ['signature', segment.signed, row.signed],
      ...(claim ? claimed(row, claim) : []),
    ]
    const other = said.find(([, theirs, ours]) => theirs !== ours)
    if (other) return `says another ${other[0]} of attempt ${nameOf(segment)} than its row`
  }
  return judgeOthers([...rowOf.values()], statement)
}

/** What the worker signed, beside the row's claim. */
function claimed({ promptClaim, completionClaim, digest: file }: SettledSegment, { usage, digest }: WorkerStatement) {
  return [
    ['claim of prompt tokens', usage.prompt, promptClaim],
    ['claim of tokens', usage.completion, completionClaim],
    ['model file', digest?.toString('hex') ?? null, file],
  ] as const
}

/** Attempts that the receipt does not name gave nothing. */
function judgeOthers(others: readonly SettledSegment[], { state, segments }: PoolStatement): string | undefined {
  // The receipt of a job whose pool process died names no segments: nobody could prove any more what was relayed.
  const orphan = state !== 'completed' && segments.length === 0
  const unnamed = others.find(({ pieces, signed }) => signed || (pieces > 0 && !orphan))
  return unnamed && `does not name attempt ${unnamed.choice}/${unnamed.attempt}, which gave something`
}
