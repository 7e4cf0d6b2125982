import type { Refusal } from '#protocol'
import type { Choice } from './choice.ts'
import { jobsLimits } from './limits.ts'
import { companyGone, noWorker, seenOnce, waitedTooLong } from './refusals.ts'

/** How long a run may wait. */
export interface Patience {
  /** For a worker that is busy. */
  readonly queueWaitMs: number
  /** For any worker at all, before the first attempt and after one broke. */
  readonly noWorkerGraceMs: number
  readonly takeoverGraceMs: number
}

/** Why a choice whose attempt just failed with `refusal` is not tried again, or `undefined` when it is. */
export function whyNotAgain(choice: Choice, refusal: Refusal): Refusal | undefined {
  const { job } = choice
  if (job.privacy === 'single-exposure' && job.exposure.size > 0) return seenOnce(refusal)
  const isConstrained = job.request.needs.includes('json_schema')
  const attemptsMax = isConstrained ? jobsLimits.constrainedAttemptsMax : jobsLimits.attemptsMax
  const tooOften = choice.excluded.length >= attemptsMax
  return tooOften || (choice.begun && !choice.continuable) ? refusal : undefined
}

/** Why a waiting choice waits no longer, or `undefined`. `now` is monotonic; `retryAfterMs` is what its client is told. */
export function whyGiveUp(choice: Choice, patience: Patience, now: number, retryAfterMs: number): Refusal | undefined {
  const graceMs = choice.attempts.length === 0 ? patience.noWorkerGraceMs : patience.takeoverGraceMs
  if (now - (choice.aloneSince ?? now) >= graceMs)
    return choice.lastRefusal ?? (choice.panel ? companyGone : noWorker(choice.job.request))
  if (now - choice.waitingSince < patience.queueWaitMs) return undefined
  return (choice.begun ? choice.lastRefusal : undefined) ?? waitedTooLong(retryAfterMs)
}
