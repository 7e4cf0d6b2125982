/** What is asked before anybody's trust changes. */
export interface Standing {
  readonly trust: number
  readonly revoked: boolean
  readonly version: 1 | 2
  /** The level both sides could stand on by the acceptances that count; 0: none of theirs, or none of ours. */
  readonly theirLevel: number
}

export type PromotionVerdict =
  /** `awaiting`: it takes effect when the other pool's human has accepted too. */
  | { readonly ok: true; readonly trust: number; readonly awaiting: boolean }
  | { readonly ok: false; readonly why: 'revoked' | 'not_higher' }

/** Jobs go both ways, and it is looked at every 30 s. */
export const lendingFrom = 2

/** Levels that both sides must have accepted. */
export const bondedFrom = 3

/**
 * Up, by a human here. Between version 2 pools level 3 and 4 stand on both sides' acceptances; a version 1 pool cannot give one, so its
 * level is this side's alone.
 */
export function decidePromotion({ trust, revoked, version, theirLevel }: Standing, level: number): PromotionVerdict {
  if (revoked) return { ok: false, why: 'revoked' }
  if (level <= trust) return { ok: false, why: 'not_higher' }
  if (level < bondedFrom || version === 1 || theirLevel >= level) return { ok: true, trust: level, awaiting: false }
  return { ok: true, trust: Math.max(trust, theirLevel, bondedFrom - 1), awaiting: true }
}

/** What came of calls to one peer within a day. */
export interface Outcomes {
  readonly successes: number
  readonly failures: number
  readonly mismatches: number
}

/** Why trust falls by itself: a few wrong answers, or failures that outnumber everything else. Undefined: it stays. */
export function whyLower({ successes, failures, mismatches }: Outcomes, limits: LowerLimits): string | undefined {
  if (mismatches >= limits.mismatchesMax) return `${mismatches} wrong answers within a day`
  if (failures >= limits.failuresMax && failures > successes)
    return `${failures} failures and ${successes} successes within a day`
  return undefined
}
interface LowerLimits {
  readonly mismatchesMax: number
  readonly failuresMax: number
}

/** Who is asked first: those with fewer mismatches, then with the better share of successes; a newcomer stands in the middle. */
export function compareOutcomes(a: Outcomes, b: Outcomes): number {
  if (a.mismatches !== b.mismatches) return a.mismatches - b.mismatches
  return successShare(b) - successShare(a)
}
/** The share of calls that came to something, by Laplace's rule of succession: 0 … 1. */
export const successShare = ({ successes, failures, mismatches }: Outcomes) =>
  (successes + 1) / (successes + failures + mismatches + 2)
