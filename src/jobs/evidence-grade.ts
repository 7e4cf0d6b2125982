import type { PoolStatement } from '#protocol'
import type { CheckIntake } from '#verification'
import { type Assurance, ownEngineOnly } from './assurance.ts'
import type { Attempt } from './attempt.ts'
import type { Choice } from './choice.ts'
import type { Job } from './job.ts'

/** What is asked of whoever has the checks made. */
export type Lookers = Pick<CheckIntake, 'looksAtUpstream' | 'hasOwnFor'>

/**
 * What a look at the answers of a job can show, as its receipt says: that of the weakest of them. Side by side it has been shown
 * already; of a sampled answer it says how sure a check is that may still come.
 */
export function evidenceOf(job: Job, lookers: Lookers | undefined): PoolStatement['evidence'] {
  if (job.panels) return job.state !== 'completed' ? 'none' : job.kernel === undefined ? 'margin' : 'exact'
  if (!lookers || !job.sampling || job.assurance.given === 'none') return 'none'
  const given = segmentsOf(job, lookers)
  if (given.length === 0 || given.some(({ why }) => why !== null)) return 'none'
  return given.some(({ attempt }) => attempt.digest === null) ? 'weak' : 'margin'
}

/**
 * What was given in the end. Whoever may see no more than one worker was promised that the pool's own engine looks: where it turned out that
 * it cannot (it has another file of the model), nobody does.
 */
export function assuranceGiven(job: Job, lookers: Lookers | undefined): Assurance {
  const { asked, reason } = job.assurance
  const isUnseen =
    reason === ownEngineOnly && lookers && segmentsOf(job, lookers).some(({ why }) => why === 'single_exposure')
  return isUnseen ? { asked, given: 'none', reason: 'single_exposure' } : job.assurance
}

function segmentsOf(job: Job, lookers: Lookers) {
  return job.choices.flatMap((choice) =>
    choice.attempts.filter(({ gave }) => gave).map((attempt) => ({ attempt, why: whyUnfit(choice, attempt, lookers) })),
  )
}

/** Why a verifier could not make sense of an answer, as a word; null: it can be looked at. */
export function whyUnfit(choice: Choice, attempt: Attempt, lookers: Lookers): string | null {
  const { digest, statement, workerId } = attempt
  const { kind, model } = choice.job.request
  if (kind === 'embedding') return 'not_checkable'
  // Side by side it is looked at by nobody else; the pool's own engine does not look at itself.
  const isOwnOnly = choice.job.privacy === 'single-exposure' && !choice.panel
  if (isOwnOnly && !lookers.hasOwnFor(workerId, model, digest)) return 'single_exposure'
  if (digest === null) return whyUpstreamUnfit(choice, workerId, lookers)
  if (choice.hasDeltas || !choice.relay.hasIds) return 'native_sampler'
  return statement && statement.signed.message.sampler !== 'sampler/1' ? 'native_sampler' : null
}

/** An upstream's probabilities tell something about plain text that nothing but them has drawn. */
function whyUpstreamUnfit({ hasDeltas, job }: Choice, workerId: string, lookers: Lookers): string | null {
  const { request } = job
  if (!lookers.looksAtUpstream(workerId, request.model)) return 'no_model_file'
  return hasDeltas || request.isBent === true ? 'native_sampler' : null
}
