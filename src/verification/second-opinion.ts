import type { CheckOutcome } from '#reputation'
import type { Candidate } from './choose-verifiers.ts'
import { confirmHit, type Vote } from './votes.ts'

/** A hit that somebody found, and whom else can be asked. */
export interface SecondStage {
  /** Who calls it a hit. */
  readonly first: Candidate
  /** Operator of the worker that is checked. */
  readonly operator: string
  /** The pool's own engine, where it has the model. */
  readonly reference: Candidate | undefined
  /** Whether it computes to the same last bit as the worker did, who computed alone. */
  isSameClass(candidate: Candidate): boolean
  /** Of operators that are not excluded, at most `count`. */
  choose(excluded: readonly string[], count: number, suits?: (candidate: Candidate) => boolean): Promise<Candidate[]>
  /** `isolated`: token by token, as the worker computed it, and every token must be the same. */
  look(by: Candidate, replay: 'prefill' | 'isolated'): Promise<CheckOutcome>
}

/** What came of it. */
export interface Confirmed {
  readonly outcome: CheckOutcome
  /** Who says so. */
  readonly by: readonly string[]
  readonly votes: readonly { readonly verifier: string; readonly overruled: boolean }[]
  /** On the same arithmetic the model gives something else: the worker lies, or two verifiers do. */
  readonly proof: boolean
  /** Who says so besides the accuser: the pool itself, or two operators. */
  readonly from: 'pool' | 'verifiers'
}

/**
 * Stage two of a check. An answer computed alone is computed again on the same arithmetic, if somebody has it; where that differs, too, it
 * is proof. Otherwise the pool's own engine decides, or two more verifiers of other operators do. `undefined`: so many are not there.
 */
export async function secondOpinion(stage: SecondStage): Promise<Confirmed | undefined> {
  const { first, operator, reference } = stage
  // Where the pool itself was asked first, it has decided already.
  if (reference?.worker === first.worker) return byPool(first, 'hit', false)
  const replayer = await replayerOf(stage)
  const replayed = replayer && (await stage.look(replayer, 'isolated').catch(() => undefined))
  if (replayer && replayed) {
    if (replayer === reference) return byPool(first, replayed, replayed === 'hit')
    if (replayed === 'hit') return bothSayHit(first, replayer)
    if (!reference) {
      // The same to the last bit, or not what the model gives: one of the two lies, and a third decides.
      const [third] = await stage.choose([operator, first.operator, replayer.operator], 1)
      return third && byMajority(first, [voteOf(replayer, replayed), voteOf(third, await stage.look(third, 'prefill'))])
    }
  }
  if (reference) return byPool(first, await stage.look(reference, 'prefill'), false)
  const [second, third] = await stage.choose([operator, first.operator], 2)
  if (!second || !third) return undefined
  const [one, other] = await Promise.all([stage.look(second, 'prefill'), stage.look(third, 'prefill')])
  return byMajority(first, [voteOf(second, one), voteOf(third, other)])
}

async function replayerOf(stage: SecondStage): Promise<Candidate | undefined> {
  const { first, operator, reference } = stage
  if (reference && stage.isSameClass(reference)) return reference
  const [found] = await stage.choose([operator, first.operator], 1, (one) => stage.isSameClass(one))
  return found
}

const voteOf = ({ worker, operator }: Candidate, says: CheckOutcome): Vote => ({ verifier: worker, operator, says })

function byPool(first: Candidate, says: CheckOutcome, proof: boolean): Confirmed {
  const { outcome, by, overruled } = confirmHit(voteOf(first, 'hit'), { from: 'pool', says })
  return { outcome, by, votes: [{ verifier: first.worker, overruled: overruled.length > 0 }], proof, from: 'pool' }
}

function bothSayHit(first: Candidate, replayer: Candidate): Confirmed {
  const by = [first.worker, replayer.worker]
  return {
    outcome: 'hit',
    by,
    votes: by.map((verifier) => ({ verifier, overruled: false })),
    proof: true,
    from: 'verifiers',
  }
}

function byMajority(first: Candidate, votes: readonly [Vote, Vote]): Confirmed {
  const { outcome, by, overruled } = confirmHit(voteOf(first, 'hit'), { from: 'verifiers', votes })
  const all = [first.worker, ...votes.map(({ verifier }) => verifier)]
  return {
    outcome,
    by,
    votes: all.map((verifier) => ({ verifier, overruled: overruled.includes(verifier) })),
    proof: false,
    from: 'verifiers',
  }
}
