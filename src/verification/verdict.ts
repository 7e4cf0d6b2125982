import assert from 'node:assert'
import { type ChartParams, type Charts, type CheckOutcome, newCharts, updateCharts } from '#reputation'
import { verificationLimits } from './limits.ts'
import { type CheckProfile, checkProfiles, checkRatePpm } from './sampling.ts'
import { countVotes, type Vote } from './votes.ts'

/**
 * The life of one worker with one model.
 *
 *     probation ──▶ trusted
 *        ▲ │          ▲ │
 *        │ ▼          │ ▼
 *        └─── paused ───┘        any of the three ──▶ frozen ──▶ convicted
 *                                frozen, and cleared ──▶ probation or trusted
 *
 * probation: so far fewer clean checks than a newcomer owes. paused: a chart stands above zero, everything is checked and
 * earnings wait, which the worker is not told. frozen: a chart raised the alarm or a replay differed; no new work and no
 * earnings until a tribunal has voted. convicted: slashed, for good, at once where the pool itself refuted a result; only
 * an admin's reset makes a new standing.
 */
export const standingMoves = {
  probation: ['trusted', 'paused', 'frozen', 'convicted'],
  trusted: ['paused', 'frozen', 'convicted'],
  paused: ['probation', 'trusted', 'frozen', 'convicted'],
  frozen: ['probation', 'trusted', 'convicted'],
  convicted: [],
} as const satisfies Record<string, readonly string[]>

export type Phase = keyof typeof standingMoves

/** What a pool knows of one worker with one model. */
export interface Standing {
  readonly phase: Phase
  /** Clean checks since the worker came. */
  readonly clean: number
  readonly charts: Charts
  /** Verifiers whose hits raised the charts since they last stood at zero, at most `accusersMax`. */
  readonly accusers: readonly string[]
}

export type StandingEvent =
  /** A check is over, after a second opinion where the first was a hit. `by`: the verifiers who say so. */
  | { readonly kind: 'checked'; readonly outcome: CheckOutcome; readonly by: readonly string[] }
  /** An isolated replay in the same kernel class differs: one of the two lies, but not yet which. */
  | { readonly kind: 'mismatch'; readonly by: readonly string[] }
  /** The pool itself computed it again and got something else. */
  | { readonly kind: 'refuted' }
  /** The verdict of the tribunal: three votes of distinct operators. Only a frozen worker has one. */
  | { readonly kind: 'tribunal'; readonly votes: readonly Vote[] }

/** What the shell does about it, in this order. A verifier that was overruled takes the hit itself. */
export type Act =
  | { readonly act: 'pause_releases' | 'resume_releases' | 'freeze' | 'call_tribunal' }
  | { readonly act: 'slash' | 'block_operator' | 'recheck_window' | 'refund_users' }
  | { readonly act: 'hit_verifier'; readonly verifier: string }

export interface Decision {
  readonly standing: Standing
  readonly acts: readonly Act[]
}

const conviction: readonly Act[] = [
  { act: 'slash' },
  { act: 'block_operator' },
  { act: 'recheck_window' },
  { act: 'refund_users' },
]

/** A newcomer, or a worker that an admin has reset: nothing counts for or against it. */
export function newStanding(params?: ChartParams): Standing {
  return { phase: 'probation', clean: 0, charts: newCharts(params), accusers: [] }
}

/** Check rate of the next statement, parts per million: everything while in doubt, else what the clean checks earned. */
export function dueRatePpm({ phase, clean }: Standing, profile: CheckProfile = checkProfiles.sampled): number {
  return phase === 'probation' || phase === 'trusted' ? checkRatePpm({ clean, profile }) : 1_000_000
}

/** Decides; touches no clock and no table. A convicted worker stays one, whatever still comes in; users of what is found later are paid back, too. */
export function decideAfterCheck(standing: Standing, event: StandingEvent): Decision {
  const decision =
    standing.phase === 'convicted' ? { standing, acts: actsAfterConviction(event) } : decide(standing, event)
  const moves: readonly Phase[] = standingMoves[standing.phase]
  const { phase } = decision.standing
  assert(phase === standing.phase || moves.includes(phase), `${standing.phase} never becomes ${phase}`)
  return decision
}

function actsAfterConviction(event: StandingEvent): readonly Act[] {
  const isFalse = event.kind === 'mismatch' || (event.kind === 'checked' && event.outcome === 'hit')
  return isFalse ? [{ act: 'refund_users' }] : []
}

function decide(standing: Standing, event: StandingEvent): Decision {
  switch (event.kind) {
    case 'checked':
      return afterCheck(standing, event.outcome, event.by)
    case 'mismatch':
      return freeze(accusedBy(standing, event.by))
    case 'refuted':
      return convict(standing, [])
    case 'tribunal':
      return afterTribunal(standing, event.votes)
  }
}

/** Checks that come in while a worker is frozen are evidence for its tribunal; they no longer move its charts. */
function afterCheck(before: Standing, outcome: CheckOutcome, by: readonly string[]): Decision {
  if (before.phase === 'frozen') return { standing: before, acts: [] }
  const { charts, above, alarm } = updateCharts(before.charts, outcome)
  const clean = before.clean + (outcome === 'clean' ? 1 : 0)
  const next = { ...before, charts, clean }
  const accused = outcome === 'hit' ? accusedBy(next, by) : next
  if (alarm) return freeze(accused)
  if (above) {
    const acts: readonly Act[] = before.phase === 'paused' ? [] : [{ act: 'pause_releases' }]
    return { standing: { ...accused, phase: 'paused' }, acts }
  }
  const acts: readonly Act[] = before.phase === 'paused' ? [{ act: 'resume_releases' }] : []
  return { standing: atRest(accused), acts }
}

/** A majority convicts or clears; whoever said otherwise was overruled, and so were the accusers of a cleared worker. */
function afterTribunal(standing: Standing, votes: readonly Vote[]): Decision {
  assert(standing.phase === 'frozen', 'only a frozen worker has a tribunal')
  assert(votes.length === verificationLimits.tribunalVotes, 'a tribunal has its full number of votes')
  const { majority, overruled } = countVotes(votes)
  if (majority === 'hit') return convict(standing, overruled)
  const wrong = [...new Set([...standing.accusers, ...overruled])]
  const charts = { ...standing.charts, heights: standing.charts.heights.map(() => 0) }
  return { standing: atRest({ ...standing, charts }), acts: [{ act: 'resume_releases' }, ...wrong.map(hitVerifier)] }
}

const hitVerifier = (verifier: string): Act => ({ act: 'hit_verifier', verifier })

function accusedBy(standing: Standing, by: readonly string[]): Standing {
  const accusers = [...new Set([...standing.accusers, ...by])].slice(-verificationLimits.accusersMax)
  return { ...standing, accusers }
}

function atRest(standing: Standing): Standing {
  const phase = standing.clean < verificationLimits.probationChecks ? 'probation' : 'trusted'
  return { ...standing, phase, accusers: [] }
}

function freeze(standing: Standing): Decision {
  if (standing.phase === 'frozen') return { standing, acts: [] }
  return { standing: { ...standing, phase: 'frozen' }, acts: [{ act: 'freeze' }, { act: 'call_tribunal' }] }
}

function convict(standing: Standing, overruled: readonly string[]): Decision {
  return { standing: { ...standing, phase: 'convicted' }, acts: [...conviction, ...overruled.map(hitVerifier)] }
}
