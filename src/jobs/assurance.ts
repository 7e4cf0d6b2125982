import type { AssuranceLevel } from '#protocol'
import type { AcceptedRequest, AssuranceWish } from './accepted-request.ts'

/** What is asked for, and what comes of it: on the response head and on the receipt. */
export interface Assurance {
  readonly asked: AssuranceLevel
  readonly given: AssuranceLevel
  /** A word for machines; null when what is asked for is given and nothing is to be said about how. */
  readonly reason: string | null
}

/** How it is checked: no other worker may look, the pool's own engine does. */
export const ownEngineOnly = 'own_engine_only'

const policy: AssuranceWish = { level: 'sampled', explicit: false }

/** What the request wants, its key's and order's say included. */
export const wishOf = (request: Pick<AcceptedRequest, 'assurance'>): AssuranceWish => request.assurance ?? policy

/**
 * What a request that is served without company is told. `unchecked`: why its answer cannot be checked, or `undefined`; `how`: what is
 * special about its checks.
 */
export function assuranceOf(
  { level }: AssuranceWish,
  unchecked: string | undefined,
  how: string | null = null,
): Assurance {
  if (level !== 'none' && unchecked !== undefined) return { asked: level, given: 'none', reason: unchecked }
  return { asked: level, given: level, reason: level === 'none' ? null : how }
}
