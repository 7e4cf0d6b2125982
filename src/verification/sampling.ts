import assert from 'node:assert'
import { selectionPrf } from '#protocol'
import { verificationLimits } from './limits.ts'

/** What the pool's secret of one hour decides about one statement of a worker. */
export interface Sample {
  /** 32 random bytes. The pool commits to them before the epoch and reveals them after it. */
  readonly epochKey: Buffer
  /** sha256 of the bytes of the worker's statement, without its signature. */
  readonly statementHash: Buffer
}

/** What is picked: who verifies, which positions of the answer are looked at, whether a known transcript goes along. */
export type PickLabel = 'verifier' | 'position' | 'canary'

const words = 1n << 64n
const { earnedRateChecks, knownBadPpm, knownGoodPpm, probationChecks } = verificationLimits
const { requiredPpmMin, sampledPpmMin, strictPpmMin } = verificationLimits

/** Picks one after the other: each call gives an index 0 … n − 1, uniform and independent of those before it. */
export function picker(from: Sample & { readonly label: PickLabel }): (n: number) => number {
  const source = wordsOf(from)
  return (n) => uniform(source, n)
}

/** One of `n`: the first pick. */
export function pick({ n, ...from }: Sample & { readonly label: PickLabel; readonly n: number }): number {
  return picker(from)(n)
}

/**
 * `count` different indexes below `n` in random order, every choice equally likely: the first steps of a Fisher-Yates
 * shuffle (Knuth, TAOCP 2, algorithm P) over indexes that are only written down where they moved.
 */
export function pickSome({
  n,
  count,
  ...from
}: Sample & { readonly label: PickLabel; readonly n: number; readonly count: number }): number[] {
  assert(Number.isInteger(count) && count >= 0 && count <= n, 'nobody picks more than there are')
  const next = picker(from)
  const moved = new Map<number, number>()
  return Array.from({ length: count }, (_, i) => {
    const j = i + next(n - i)
    const picked = moved.get(j) ?? j
    moved.set(j, moved.get(i) ?? i)
    return picked
  })
}

/**
 * What a verifier is sent for a check that is due: one in ten transcripts is known to be bad and one in ten known to be
 * good, so that who always agrees and who always accuses is found out. The same PRF decides, so this is public later, too.
 */
export function transcriptOf(sample: Sample): 'known_bad' | 'known_good' | 'real' {
  const at = pick({ ...sample, label: 'canary', n: 1_000_000 })
  if (at < knownBadPpm) return 'known_bad'
  return at < knownBadPpm + knownGoodPpm ? 'known_good' : 'real'
}

/** 64-bit words: of HMAC(key, label ‖ hash), then of HMAC(key, label ‖ hash ‖ u32 block) for block 1, 2, … */
function* wordsOf({
  epochKey,
  statementHash,
  label,
}: Sample & { readonly label: PickLabel }): Generator<bigint, never> {
  for (let block = 0; ; block++) {
    const bytes = selectionPrf(epochKey, label, statementHash, block)
    for (let at = 0; at < bytes.length; at += 8) yield bytes.readBigUInt64BE(at)
  }
}

/**
 * A uniform index below `n` by rejection (von Neumann 1951): words of the last, incomplete run of `n` are passed over, so
 * that no index has one word more than another, which `word % n` alone would give the low ones.
 */
export function uniform(source: Iterator<bigint, never>, n: number): number {
  assert(Number.isInteger(n) && n >= 1 && n <= verificationLimits.pickFromMax, 'one of at least one is picked')
  const size = BigInt(n)
  const fair = words - (words % size)
  for (;;) {
    const word = source.next().value
    if (word < fair) return Number(word % size)
  }
}

/** How closely a pool looks. */
export interface CheckProfile {
  /** The rate that a worker with a long clean record comes down to, parts per million. */
  readonly ppmMin: number
}

export const checkProfiles = {
  sampled: { ppmMin: sampledPpmMin },
  strict: { ppmMin: strictPpmMin },
  required: { ppmMin: requiredPpmMin },
} as const satisfies Record<string, CheckProfile>

/**
 * Check rate in parts per million of a worker with `clean` clean checks: all of the first 20, then 18/(clean + 1), never
 * below the profile's. A record has to be earned by checks, not by requests: the rate comes down to 3 % after 599 clean
 * checks.
 */
export function checkRatePpm({ clean, profile }: { readonly clean: number; readonly profile: CheckProfile }): number {
  if (clean < probationChecks) return 1_000_000
  const earned = Math.ceil((earnedRateChecks * 1_000_000) / (clean + 1))
  return Math.max(profile.ppmMin, earned)
}
