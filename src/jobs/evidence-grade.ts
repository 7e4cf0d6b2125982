import type { PoolStatement } from '#protocol'
import type { Attempt } from './attempt.ts'
import type { Choice } from './choice.ts'
import type { Job } from './job.ts'

/**
 * What a look at the answers of a job can show, as its receipt says: that of the weakest of them. Side by side it has been shown
 * already; of a sampled answer it says how sure a check is that may still come.
 */
export function evidenceOf(job: Job): PoolStatement['evidence'] {
  if (job.panels) return job.state !== 'completed' ? 'none' : job.kernel === undefined ? 'margin' : 'exact'
  if (!job.sampling || job.assurance.given === 'none') return 'none'
  const given = job.choices.flatMap((choice) =>
    choice.attempts.flatMap((attempt) => (attempt.gave ? [whyUnfit(choice, attempt)] : [])),
  )
  return given.length > 0 && given.every((why) => why === null) ? 'margin' : 'none'
}

/** Why a verifier could not make sense of an answer, as a word; null: it can be looked at. */
export function whyUnfit(choice: Choice, { digest, statement }: Attempt): string | null {
  if (choice.job.request.kind === 'embedding') return 'not_checkable'
  if (digest === null) return 'no_model_file'
  if (choice.hasDeltas || !choice.relay.hasIds) return 'native_sampler'
  return statement && statement.signed.message.sampler !== 'sampler/1' ? 'native_sampler' : null
}
