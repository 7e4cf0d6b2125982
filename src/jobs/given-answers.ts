import type { Part } from '#storage'
import type { CheckIntake, GivenSegment, KeptAnswer } from '#verification'
import type { Attempt } from './attempt.ts'
import type { Choice } from './choice.ts'
import { whyUnfit } from './evidence-grade.ts'
import type { Job } from './job.ts'

/** What is written with a job's settlement so that its answers are checked. */
export function checksOf(job: Job, checks: CheckIntake): Part[] {
  const { sampling, assurance } = job
  if (!sampling) return []
  const segments = job.choices.flatMap((choice) =>
    choice.attempts.flatMap((attempt, place) => (attempt.gave ? [segmentOf(choice, attempt, place, checks)] : [])),
  )
  if (segments.length === 0) return []
  const at = job.endedAt ?? job.acceptedAt
  const unwatched = assurance.given === 'none' ? (assurance.reason ?? 'not_wanted') : null
  // Side by side it is checked by those who computed it; whoever may see no more than they must stays unasked.
  const unchecked = job.panels && job.privacy !== 'standard' ? 'privacy' : unwatched
  return checks.settle({ jobId: job.id, model: job.request.model, sampling, at, unchecked, segments })
}

function segmentOf(choice: Choice, attempt: Attempt, place: number, checks: CheckIntake): GivenSegment {
  const { workerId, digest, statement } = attempt
  return {
    choice: choice.index,
    attempt: attempt.n,
    workerId,
    digest,
    statement: statement?.signed.bytes ?? null,
    unfit: whyUnfit(choice, attempt, checks),
    dissents: dissents(choice),
    answer: () => keptAnswer(choice, attempt, place),
  }
}

/** An answer as another worker needs it to look at it. `place`: of the attempt among those of its choice. */
export function keptAnswer(choice: Choice, attempt: Attempt, place: number): KeptAnswer {
  const { job } = choice
  const { kind, model, body, maxTokens } = job.request
  if (kind === 'embedding') throw new Error('an embedding has no tokens')
  return {
    kind,
    model,
    digest: attempt.digest,
    choice: choice.index,
    seed: job.seed,
    maxTokens,
    contextTokens: attempt.contextTokens,
    decode: attempt.statement?.signed.message.decode ?? 'batched',
    ...(job.kernel === undefined ? {} : { kernel: job.kernel }),
    ...(job.privacy === 'standard' ? {} : { poolOnly: true }),
    finish: job.state === 'cancelled' || attempt.outcome !== 'ended' ? 'cancelled' : (attempt.finish ?? 'stop'),
    promptClaim: attempt.claim?.promptTokens ?? null,
    body,
    // A panel's answer is one worker's alone; other attempts go on behind each other.
    tokens: (choice.panel ? [attempt] : choice.attempts.slice(0, place + 1)).flatMap(({ sent }) =>
      sent.flatMap((batch) => [...batch]),
    ),
  }
}

/** Of those who computed it side by side, whoever gave another answer than the k who agree; everybody, where nobody could be believed. */
function dissents(choice: Choice): boolean {
  const { panel, job, finish } = choice
  if (!panel) return false
  if (panel.agreed) return panel.agreed.dissenting.includes(choice)
  return finish !== undefined && job.code === 'assurance_unavailable'
}
