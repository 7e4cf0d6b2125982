import assert from 'node:assert/strict'

/**
 *   queued ──▶ leased ──▶ streaming ──▶ completed
 *     │          ▲ │          │  └────▶ cancelled · failed · expired · interrupted
 *     │          │ └──────────┼───────▶ cancelled · failed · expired · interrupted
 *     │          └─ takeover ─┘
 *     └───────────────────────────────▶ cancelled · failed · expired · interrupted
 *
 * A retry before the first token stays in `leased` with a new segment. `completed` and `cancelled` post what was relayed,
 * the others void the hold. `interrupted` is what a pool that died left behind, or cut off when it was told to stop.
 */
const jobMoves = {
  queued: ['leased', 'cancelled', 'failed', 'expired', 'interrupted'],
  leased: ['streaming', 'cancelled', 'failed', 'expired', 'interrupted'],
  streaming: ['leased', 'completed', 'cancelled', 'failed', 'expired', 'interrupted'],
  completed: [],
  cancelled: [],
  failed: [],
  expired: [],
  interrupted: [],
} as const satisfies Record<string, readonly string[]>

export type JobState = keyof typeof jobMoves
export const jobStates = Object.keys(jobMoves) as JobState[]
/** A job in one of these is over; its row never changes again. */
export type FinalState = 'completed' | 'cancelled' | 'failed' | 'expired' | 'interrupted'

export function isFinal(state: JobState): state is FinalState {
  return jobMoves[state].length === 0
}

/** Whether `to` can be reached by one move or several. Moves of one flush are written as one update. */
export function canReach(from: JobState, to: JobState): boolean {
  const seen = new Set<JobState>()
  const edge: JobState[] = [from]
  for (let at = edge.pop(); at !== undefined; at = edge.pop()) {
    for (const next of jobMoves[at]) {
      if (next === to) return true
      if (!seen.has(next)) edge.push(next)
      seen.add(next)
    }
  }
  return false
}

/** The next state; a move that the table does not have is our bug. */
export function moved(from: JobState, to: JobState): JobState {
  assert((jobMoves[from] as readonly JobState[]).includes(to), `a job does not go from ${from} to ${to}`)
  return to
}
