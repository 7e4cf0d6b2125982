import assert from 'node:assert'
import type { CheckOutcome } from '#reputation'

/** What one verifier says of a transcript. It committed to it before it saw what the others say. */
export interface Vote {
  readonly verifier: string
  readonly operator: string
  readonly says: CheckOutcome
}

/** The majority of an odd number of votes of distinct operators, and the verifiers who said otherwise. */
export function countVotes(votes: readonly Vote[]): { readonly majority: CheckOutcome; readonly overruled: string[] } {
  assert(votes.length % 2 === 1, 'an odd number of votes cannot tie')
  assert(new Set(votes.map(({ operator }) => operator)).size === votes.length, 'an operator has one vote')
  const hits = votes.filter(({ says }) => says === 'hit').length
  const majority = hits > votes.length / 2 ? 'hit' : 'clean'
  return { majority, overruled: votes.filter(({ says }) => says !== majority).map(({ verifier }) => verifier) }
}

/** Another look at a transcript that one verifier calls a hit. */
export type SecondOpinion =
  /** The pool's reference engine, or a replay that the pool did itself. It decides alone. */
  | { readonly from: 'pool'; readonly says: CheckOutcome }
  /** Two more verifiers; with the accuser they are three, of distinct operators. */
  | { readonly from: 'verifiers'; readonly votes: readonly [Vote, Vote] }

/**
 * Stage two of a check: whether the hit stands, who says so, and who was overruled and takes the hit itself. Of three
 * verifiers a single false accuser, or a single friend of the worker, is always overruled.
 */
export function confirmHit(
  accuser: Omit<Vote, 'says'>,
  second: SecondOpinion,
): { readonly outcome: CheckOutcome; readonly by: string[]; readonly overruled: string[] } {
  if (second.from === 'pool') {
    const [right, wrong] = second.says === 'hit' ? [[accuser.verifier], []] : [[], [accuser.verifier]]
    return { outcome: second.says, by: right, overruled: wrong }
  }
  const votes: readonly Vote[] = [{ ...accuser, says: 'hit' }, ...second.votes]
  const { majority, overruled } = countVotes(votes)
  const by = votes.filter(({ says }) => says === majority).map(({ verifier }) => verifier)
  return { outcome: majority, by, overruled }
}
