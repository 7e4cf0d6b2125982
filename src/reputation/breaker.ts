import { reputationLimits } from './limits.ts'

/**
 * The circuit breaker of one worker (M. Nygard, "Release It!", 2007).
 *
 *     closed ──faults──▶ open ──time──▶ half_open ──successes──▶ closed
 *                          ▲────────fault───┘
 *
 * closed: gets work; faults add points, successes take them away. open: gets none until a time. half_open: gets one run at
 * a time, to show that it is well again. It protects users from broken workers; dishonest ones are for the charts.
 */
export type Breaker =
  | { readonly circuit: 'closed'; readonly points: number }
  | { readonly circuit: 'open'; readonly why: Fault; readonly untilMs: number; readonly pauseMs: number }
  | { readonly circuit: 'half_open'; readonly why: Fault; readonly successes: number; readonly pauseMs: number }

export type Fault = 'error' | 'timeout' | 'quality'

export interface BreakerStep {
  readonly breaker: Breaker
  /** What the operator is told. */
  readonly event: 'circuit_opened' | 'circuit_closed' | null
}

const { faultPointsMax, openMsMin, openMsMax, probesMin } = reputationLimits
const pointsOf = {
  error: reputationLimits.errorPoints,
  timeout: reputationLimits.timeoutPoints,
  quality: reputationLimits.qualityPoints,
} as const satisfies Record<Fault, number>

export const closedBreaker: Breaker = { circuit: 'closed', points: 0 }

/** How a run ended. Late answers to runs from before the circuit opened change nothing while it is open. `nowMs` since 1970. */
export function breakerAfter(breaker: Breaker, ended: 'success' | Fault, nowMs: number): BreakerStep {
  const current = awake(breaker, nowMs)
  switch (current.circuit) {
    case 'open':
      return { breaker: current, event: null }
    case 'closed': {
      if (ended === 'success') return unchanged({ circuit: 'closed', points: Math.max(0, current.points - 1) })
      const points = current.points + pointsOf[ended]
      return points < faultPointsMax ? unchanged({ circuit: 'closed', points }) : opened(ended, openMsMin, nowMs)
    }
    case 'half_open': {
      if (ended !== 'success') return opened(ended, Math.min(openMsMax, 2 * current.pauseMs), nowMs)
      const successes = current.successes + 1
      if (successes < probesMin) return unchanged({ ...current, successes })
      return { breaker: closedBreaker, event: 'circuit_closed' }
    }
  }
}

/** Runs that the worker may have at once now: all its slots, one, or none. */
export function runsAllowed(breaker: Breaker, slots: number, nowMs: number): number {
  const { circuit } = awake(breaker, nowMs)
  if (circuit === 'open') return 0
  return circuit === 'half_open' ? Math.min(1, slots) : slots
}

/** An open circuit whose time is over is half open; nobody has to watch the clock for it. */
function awake(breaker: Breaker, nowMs: number): Breaker {
  if (breaker.circuit !== 'open' || nowMs < breaker.untilMs) return breaker
  return { circuit: 'half_open', why: breaker.why, successes: 0, pauseMs: breaker.pauseMs }
}

const unchanged = (breaker: Breaker): BreakerStep => ({ breaker, event: null })

function opened(why: Fault, pauseMs: number, nowMs: number): BreakerStep {
  return { breaker: { circuit: 'open', why, untilMs: nowMs + pauseMs, pauseMs }, event: 'circuit_opened' }
}
