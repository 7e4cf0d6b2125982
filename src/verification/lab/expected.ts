import { chartDefaults, reputationLimits } from '#reputation'
import { verificationLimits } from '../limits.ts'
import { checkProfiles } from '../sampling.ts'
import { type Theory, theoryOf } from './theory.ts'
import { noise } from './transcript.ts'
import { type Adversary, foundAsVerifier } from './zoo.ts'

/** What the chain says of one adversary, in the units of its delays. */
export interface Expected {
  readonly delayMean: number
  readonly delayP95: number
  /** Share of its requests that are checked, from when it began; null for those who are found as verifiers. */
  readonly checkRate: number | null
  /** What cheating brings it more than honest work would, in earnings of a request; null where the chain does not say. */
  readonly profit: number | null
}

/** `others`: workers of other operators that may verify it; `friends`: how many of them are of its kind and stand by it. */
export function expectedOf(adversary: Adversary, rate: number, others: number, friends: number): Expected {
  if (foundAsVerifier(adversary)) return expectedOfVerifier(adversary, rate, others, friends)
  const cheats = adversary.cheats === 'rate' ? rate : adversary.cheats
  const theory = theoryOf({
    hit: hitOf(cheats * adversary.visible, others, friends),
    honestHit: reputationLimits.honestHitRate,
    honestRequests: adversary.honestRequests,
  })
  const cleared = friends >= 2 ? tribunalWithFriends(others, friends) : 0
  const { mean, p95, checks, requests } = theory
  const profit = cleared > 0 ? null : profitOf(adversary, cheats, theory)
  return { delayMean: mean / (1 - cleared), delayP95: p95, checkRate: checks / requests, profit }
}

/** A wrong answer passes if a friend looks first, or if both second opinions are friends'. A good one is hit by noise. */
function hitOf(wrong: number, others: number, friends: number): number {
  const seen = 1 - friends / others
  const overruled = (friends * (friends - 1)) / ((others - 1) * (others - 2))
  return wrong * seen * (1 - overruled) + (1 - wrong) * reputationLimits.honestHitRate * seen
}

/** Chance that at least two of the three who vote are friends (hypergeometric). */
function tribunalWithFriends(others: number, friends: number): number {
  const choose = (n: number, k: number) => (k === 2 ? (n * (n - 1)) / 2 : (n * (n - 1) * (n - 2)) / 6)
  const two = choose(friends, 2) * (others - friends)
  return (two + choose(friends, 3)) / choose(others, 3)
}

/** It saves its work on what it cheats on, and loses what is held: everything since it came, or 200 prices (more in a pause). */
function profitOf({ honestRequests }: Adversary, cheats: number, { alarmAt, mean }: Theory): number {
  const { heldPrices, saving } = verificationLimits
  const lost = alarmAt.reduce((sum, chance, n) => sum + chance * Math.min(heldPrices, honestRequests + n), 0)
  return saving * cheats * mean - lost
}

/**
 * Each look is judged. A tenth as many known bad transcripts come along, and as many known good ones. A false accusation
 * of a worker's answer stands if another accuser is asked for a second opinion and accuses, too.
 */
function expectedOfVerifier(adversary: Adversary, rate: number, others: number, friends: number): Expected {
  const known = verificationLimits.knownBadPpm / 1e6
  const looks = 1 + 2 * known
  const accused = rate + (1 - rate) * noise.first
  const seconded = ((2 * friends) / (others - 1)) * accused
  const hit = adversary.verifies === 'blindly' ? known / looks : (accused * (1 - seconded + known)) / looks
  const params = { ...chartDefaults, honestHitRate: reputationLimits.honestHitRateUnconfirmed }
  const { mean, p95 } = theoryOf({ hit, params, profile: checkProfiles.required })
  return { delayMean: mean, delayP95: p95, checkRate: null, profit: null }
}
