import assert from 'node:assert'
import { verificationLimits } from './limits.ts'

/** What one donor of a quorum computed. */
export interface QuorumResult {
  readonly worker: string
  readonly operator: string
  /** Hash of the result bytes. Equal hashes agree; there is no nearly. */
  readonly digest: string
}

/** `agree` of `of` donors, more than half: `quorum:2/3` is {2, 3}, `refereed` and a `required` pair are {2, 2}. */
export interface QuorumRule {
  readonly agree: number
  readonly of: number
}

export type QuorumVerdict =
  /** More results may still bring a majority. */
  | { readonly outcome: 'waiting' }
  /** The agreeing are paid. An outlier is unpaid and gets no more work, but loses money only after a referee. */
  | { readonly outcome: 'agreed'; readonly digest: string; readonly agreeing: string[]; readonly outliers: string[] }
  /** Nobody is paid until the referee has computed it again. */
  | { readonly outcome: 'undecided'; readonly why: 'all_differ' | 'tie' | 'too_few_agree' }
  /** Two results of one operator are one opinion; such a quorum should not have been made. */
  | { readonly outcome: 'refused'; readonly why: 'same_operator' | 'too_many_results' }

/**
 * The result that a majority of donors of distinct operators agrees on. With a share f of donors who all collude a wrong
 * result passes 2 of 3 with 3f² − 2f³, and a refereed pair with f²: agreement is no proof, so money waits for a referee.
 */
export function judgeQuorum(results: readonly QuorumResult[], rule: QuorumRule): QuorumVerdict {
  const { agree, of } = rule
  assert(
    Number.isInteger(agree) && Number.isInteger(of) && of <= verificationLimits.quorumMax,
    'whole donors, not too many',
  )
  assert(agree <= of && 2 * agree > of, 'a quorum needs more than half of its donors')
  if (results.length > of) return { outcome: 'refused', why: 'too_many_results' }
  if (new Set(results.map(({ operator }) => operator)).size < results.length)
    return { outcome: 'refused', why: 'same_operator' }

  const groups = Object.values(Object.groupBy(results, ({ digest }) => digest))
    .filter((group) => group !== undefined)
    .sort((a, b) => b.length - a.length)
  const [largest = [], second = []] = groups
  const [first] = largest
  if (first && largest.length >= agree) {
    const { digest } = first
    const outliers = results.filter((result) => result.digest !== digest)
    return { outcome: 'agreed', digest, agreeing: largest.map(workerOf), outliers: outliers.map(workerOf) }
  }
  if (largest.length + of - results.length >= agree) return { outcome: 'waiting' }
  if (largest.length === 1) return { outcome: 'undecided', why: 'all_differ' }
  return { outcome: 'undecided', why: largest.length === second.length ? 'tie' : 'too_few_agree' }
}

const workerOf = ({ worker }: QuorumResult) => worker

/** Who was right once a referee has computed the result again: these are paid, those were refuted. */
export function judgeByReferee(
  results: readonly QuorumResult[],
  digest: string,
): { readonly right: string[]; readonly refuted: string[] } {
  return {
    right: results.filter((result) => result.digest === digest).map(workerOf),
    refuted: results.filter((result) => result.digest !== digest).map(workerOf),
  }
}
