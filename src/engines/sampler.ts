/** Sampler `sampler/1`: `spec/sampler.md`. Pure, so that a verifier can repeat every choice. */
import { sha256 } from '#crypto'

/** Raw logits that take part; the rest of the vocabulary is never chosen (spec/sampler.md, "Candidates"). */
export const samplerCandidatesMax = 64

/** One token that may come next and its raw logit (or its logarithmic probability: only differences count). */
export interface Candidate {
  readonly id: number
  readonly logit: number
}

export interface SamplerSettings {
  /** 0 … 2; 0 chooses the likeliest. */
  readonly temperature: number
  /** 0 … 1. */
  readonly topP: number
  /** −2 … 2, once for each token that stands in the answer. */
  readonly presencePenalty: number
  /** −2 … 2, for each time it stands there. */
  readonly frequencyPenalty: number
  /** Token id → −100 … 100. */
  readonly bias: ReadonlyMap<number, number>
}

/** The 32-byte key of one choice: sha256(`lichen/sampler/1` ‖ seed ‖ u32 choice, big-endian). */
export function choiceKey(seed: Buffer, choice: number): Buffer {
  const index = Buffer.alloc(4)
  index.writeUInt32BE(choice)
  return sha256(Buffer.from('lichen/sampler/1'), seed, index)
}

function quarterRound(s: Uint32Array, a: number, b: number, c: number, d: number): void {
  let [sa = 0, sb = 0, sc = 0, sd = 0] = [s[a], s[b], s[c], s[d]]
  sa = (sa + sb) >>> 0
  sd ^= sa
  sd = (sd << 16) | (sd >>> 16)
  sc = (sc + sd) >>> 0
  sb ^= sc
  sb = (sb << 12) | (sb >>> 20)
  sa = (sa + sb) >>> 0
  sd ^= sa
  sd = (sd << 8) | (sd >>> 24)
  sc = (sc + sd) >>> 0
  sb ^= sc
  sb = (sb << 7) | (sb >>> 25)
  s[a] = sa
  s[b] = sb
  s[c] = sc
  s[d] = sd
}

/** The ChaCha20 block function, RFC 8439 §2.3. `key` 32 bytes, `nonce` 12 bytes; returns the 16 state words. */
export function chacha20Block(key: Buffer, counter: number, nonce: Buffer): Uint32Array {
  const start = new Uint32Array(16)
  start.set([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574])
  for (let i = 0; i < 8; i++) start[4 + i] = key.readUInt32LE(4 * i)
  start[12] = counter
  for (let i = 0; i < 3; i++) start[13 + i] = nonce.readUInt32LE(4 * i)
  const state = start.slice()
  for (let round = 0; round < 10; round++) {
    quarterRound(state, 0, 4, 8, 12)
    quarterRound(state, 1, 5, 9, 13)
    quarterRound(state, 2, 6, 10, 14)
    quarterRound(state, 3, 7, 11, 15)
    quarterRound(state, 0, 5, 10, 15)
    quarterRound(state, 1, 6, 11, 12)
    quarterRound(state, 2, 7, 8, 13)
    quarterRound(state, 3, 4, 9, 14)
  }
  for (let i = 0; i < 16; i++) state[i] = (state[i] ?? 0) + (start[i] ?? 0)
  return state
}

/**
 * Gumbel noise of one token at one position: a standard Gumbel variate for each (key, position, id), so that
 * argmax(logit / T + noise) is a draw from softmax(logit / T) (Gumbel-max; Maddison et al. 2014).
 */
export function gumbelNoise(key: Buffer, position: number, id: number): number {
  const nonce = Buffer.alloc(12)
  nonce.writeBigUInt64LE(BigInt(position), 4)
  const words = chacha20Block(key, id >>> 3, nonce)
  const at = 2 * (id & 7)
  const high52 = (words[at + 1] ?? 0) * 2 ** 20 + ((words[at] ?? 0) >>> 12)
  return -Math.log(-Math.log((high52 + 0.5) / 2 ** 52))
}

export interface Scored {
  readonly id: number
  readonly score: number
}

/** Likeliest first; equal ones by lower id. */
export const byScore = (a: Scored, b: Scored) => b.score - a.score || a.id - b.id

/** The 64 largest raw logits and every token with a positive bias, likeliest first. */
export function candidatesOf(logits: Iterable<Candidate>, bias: ReadonlyMap<number, number>): Candidate[] {
  const sorted = [...logits].sort((a, b) => b.logit - a.logit || a.id - b.id)
  return sorted.filter(({ id }, rank) => rank < samplerCandidatesMax || (bias.get(id) ?? 0) > 0)
}

/** The shortest beginning of the sorted scores whose probability reaches `topP`; at least one. */
function nucleus(scores: readonly Scored[], topP: number): readonly Scored[] {
  if (topP >= 1) return scores
  const weights = scores.map(({ score }) => Math.exp(score))
  const enough = topP * weights.reduce((sum, weight) => sum + weight, 0)
  let sum = 0
  const last = weights.findIndex((weight) => {
    sum += weight
    return sum >= enough
  })
  return scores.slice(0, Math.max(0, last) + 1)
}

/** Raw logits after bias and penalties. `counts` says how often each token stands in the answer so far. */
export function adjustedScores(
  logits: readonly Candidate[],
  { presencePenalty, frequencyPenalty, bias }: SamplerSettings,
  counts: ReadonlyMap<number, number>,
): Scored[] {
  return logits.map(({ id, logit }) => {
    const count = counts.get(id) ?? 0
    const penalty = frequencyPenalty * count + (count > 0 ? presencePenalty : 0)
    return { id, score: logit + (bias.get(id) ?? 0) - penalty }
  })
}

/**
 * Chooses the token at `position` (0 = first of the answer). `counts` says how often each token stands in the answer
 * so far. The same arguments always give the same token: whoever continues an answer continues its dice.
 */
export function chooseToken(
  candidates: readonly Candidate[],
  settings: SamplerSettings,
  counts: ReadonlyMap<number, number>,
  key: Buffer,
  position: number,
): number {
  const { temperature, topP } = settings
  const adjusted = adjustedScores(candidates, settings, counts).sort(byScore)
  const best = adjusted[0]
  if (!best) throw new Error('a model gave no logits')
  if (temperature === 0) return best.id
  const scores = adjusted.map(({ id, score }): Scored => ({ id, score: (score - best.score) / temperature }))
  let chosen = best.id
  let highest = Number.NEGATIVE_INFINITY
  for (const { id, score } of nucleus(scores, topP)) {
    const noisy = score + gumbelNoise(key, position, id)
    if (noisy > highest || (noisy === highest && id < chosen)) {
      highest = noisy
      chosen = id
    }
  }
  return chosen
}
