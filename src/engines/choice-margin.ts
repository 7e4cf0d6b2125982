import {
  adjustedScores,
  byScore,
  type Candidate,
  candidatesOf,
  gumbelNoise,
  type SamplerSettings,
  type Scored,
  samplerCandidatesMax,
} from './sampler.ts'

/** A token that may have been drawn; all lengths in units of raw logits. */
interface Runner {
  readonly id: number
  /** Score and noise together: the largest among the admitted is drawn. */
  readonly height: number
  /** How far it is within what may be drawn; negative = so far outside. */
  readonly inside: number
}

/**
 * By how many logits `chosen` missed being the token that sampler/1 takes: 0 when it is taken. Two honest machines
 * differ by a little noise ε in each logit, which can lift one token over another (2ε) and move a token into or out of
 * the 64 candidates or the nucleus (2ε as well); so a rival that noise could just as well have excluded counts by the smaller way.
 * `logits` are the 65 largest raw ones at least, those with a positive bias, and that of `chosen`.
 */
export function choiceMargin(
  logits: readonly Candidate[],
  chosen: number,
  settings: SamplerSettings,
  counts: ReadonlyMap<number, number>,
  key: Buffer,
  position: number,
): number {
  const runners = runnersOf(logits, chosen, settings, counts, key, position)
  const own = runners.find(({ id }) => id === chosen)
  if (!own) throw new Error('the logit of the chosen token is missing')
  const rivals = runners.map(({ height, inside }) => Math.min(height - own.height, inside))
  return Math.max(0, -own.inside, ...rivals)
}

function runnersOf(
  logits: readonly Candidate[],
  chosen: number,
  settings: SamplerSettings,
  counts: ReadonlyMap<number, number>,
  key: Buffer,
  position: number,
): Runner[] {
  const { temperature, topP, bias } = settings
  const candidates = candidatesOf(logits, bias)
  const admitted = new Set(candidates.map(({ id }) => id))
  const raced = logits.filter(({ id }) => admitted.has(id) || id === chosen)
  const scores = adjustedScores(raced, settings, counts).sort(byScore)
  const ofLogits = insideCandidates(logits, bias)
  const ofNucleus = temperature > 0 && topP < 1 ? insideNucleus(scores, admitted, temperature, topP) : undefined
  return scores.map(({ id, score }) => ({
    id,
    height: score + (temperature > 0 ? temperature * gumbelNoise(key, position, id) : 0),
    inside: Math.min(ofLogits(id), ofNucleus?.get(id) ?? Number.POSITIVE_INFINITY),
  }))
}

/** How far a token's raw logit is above the first that is no candidate any more, or below the last that is one. */
function insideCandidates(logits: readonly Candidate[], bias: ReadonlyMap<number, number>): (id: number) => number {
  const sorted = [...logits].sort((a, b) => b.logit - a.logit || a.id - b.id)
  const ranks = new Map(sorted.map(({ id }, rank) => [id, rank]))
  const [last, next] = [sorted[samplerCandidatesMax - 1], sorted[samplerCandidatesMax]]
  return (id) => {
    if (!last || !next || (bias.get(id) ?? 0) > 0) return Number.POSITIVE_INFINITY
    const rank = ranks.get(id) ?? sorted.length
    const own = sorted[rank]?.logit ?? Number.NEGATIVE_INFINITY
    return rank < samplerCandidatesMax ? own - next.logit : own - last.logit
  }
}

/**
 * How far each token is within the nucleus. It leaves when those before it come to have top_p alone: they gain weight (a
 * shift of their log-odds), or it falls behind others, or both; it enters likewise. The likeliest never leaves its place.
 */
function insideNucleus(
  scores: readonly Scored[],
  admitted: ReadonlySet<number>,
  temperature: number,
  topP: number,
): ReadonlyMap<number, number> {
  const nucleus = new Nucleus(scores, admitted, temperature, topP)
  return new Map(scores.map(({ id }, n) => [id, nucleus.keeps(n) ? nucleus.leaving(n) : -nucleus.entering(n)]))
}

class Nucleus {
  readonly #scores: readonly number[]
  /** Share of the weight of each, and of all before it. */
  readonly #shares: readonly number[]
  readonly #before: readonly number[]
  readonly #temperature: number
  readonly #topP: number

  constructor(scores: readonly Scored[], admitted: ReadonlySet<number>, temperature: number, topP: number) {
    const best = scores[0]?.score ?? 0
    const weights = scores.map(({ id, score }) => (admitted.has(id) ? Math.exp((score - best) / temperature) : 0))
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    let sum = 0
    this.#before = weights.map((weight) => {
      sum += weight
      return (sum - weight) / total
    })
    this.#shares = weights.map((weight) => weight / total)
    this.#scores = scores.map(({ score }) => score)
    this.#temperature = temperature
    this.#topP = topP
  }

  keeps(n: number): boolean {
    return n === 0 || (this.#before[n] ?? 1) < this.#topP
  }

  /** Least change after which `n` is left out: behind token `to`, and with those before it that much heavier. */
  leaving(n: number): number {
    let least = Number.POSITIVE_INFINITY
    for (let to = Math.max(n, 1); to < this.#scores.length; to++) {
      const fall = this.#gap(n, to)
      if (fall >= least) break
      const before = to === n ? this.#at(this.#before, n) : this.#at(this.#before, to) + this.#gain(n, to)
      least = Math.min(least, Math.max(fall, -this.#shift(before)))
    }
    return least
  }

  /** Least change after which `n` is kept: in the place of token `to`, and with those before that much lighter. */
  entering(n: number): number {
    let least = Number.POSITIVE_INFINITY
    for (let to = n; to >= 0; to--) {
      const rise = this.#gap(to, n)
      if (rise >= least) break
      least = Math.min(least, Math.max(rise, this.#shift(this.#at(this.#before, to))))
    }
    return least
  }

  #at(values: readonly number[], n: number): number {
    return values[n] ?? 0
  }

  #gap(above: number, below: number): number {
    return this.#at(this.#scores, above) - this.#at(this.#scores, below)
  }

  #gain(n: number, to: number): number {
    return this.#at(this.#shares, to) - this.#at(this.#shares, n)
  }

  /** By how much a share is above top_p. */
  #shift(share: number): number {
    return this.#temperature * (logOdds(share) - logOdds(this.#topP))
  }
}

/** Never infinite, so that differences are numbers. */
const logOdds = (share: number) => Math.log(Math.max(share, 1e-12)) - Math.log(Math.max(1 - share, 1e-12))
