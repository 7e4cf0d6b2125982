import { noTokenId } from '#protocol'
import type { Look, SeenEvidence } from './judge-look.ts'
import { verificationLimits } from './limits.ts'
import type { KeptAnswer } from './transcript.ts'

/** A likely token at its place in the list; with {@link noTokenId}: all that are not listed. */
interface LikelyPlace {
  readonly id: number
  /** Relative to the likeliest. */
  readonly logit: number
}

/** A position, as a server that shows probabilities of some likely tokens sees it. */
export interface SeenPrefix {
  /** By how many logits the text that was given falls short of the likeliest token; at least so many, where it is not listed. */
  readonly margin: number
  /** Likeliest first. */
  readonly top?: readonly LikelyPlace[] | undefined
  /** The text that was given. */
  readonly chosen?: { readonly id: number } | undefined
}

const { meanThresholdMax, positionThresholdMin, positionScoreMax, prefixOdds } = verificationLimits
/** Probability of the rest, relative to the likeliest token, below which rounding decides. */
const restMin = 1e-6
/** Exponents of the bet below: small ones see many tokens that are a little unlikely, large ones a few that are very much so. */
const exponents = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]

/**
 * Judges an answer of an upstream by what another upstream with the model finds likely. At temperature 0 by margins as everywhere, with the widest
 * mean that is ever compared, since engine and weights of two upstreams need not be the same. Above it, where the draw is nobody's to repeat,
 * by {@link logOdds}. What the upstream counts is not judged, nor that an answer ends for want of room.
 */
export function judgePrefixes(evidence: SeenEvidence, answer: Pick<KeptAnswer, 'finish' | 'body'>): Look {
  const temperature = temperatureOf(answer.body)
  const ends = answer.finish === 'stop' && evidence.ending.end ? [evidence.ending.end] : []
  if (temperature === 0) return byMargin(evidence.positions, ends)
  const seen = [...evidence.positions, ...ends]
  const log = logOdds(seen, temperature)
  const score = seen.length === 0 ? 0 : Math.max(0, log) / seen.length
  const isHit = log > Math.log(prefixOdds)
  return { says: isHit ? 'hit' : 'clean', why: isHit ? 'mean' : null, score, max: score }
}

function byMargin(positions: readonly SeenPrefix[], ends: readonly SeenPrefix[]): Look {
  const scores = positions.map(({ margin }) => Math.min(positionScoreMax, margin))
  const score = scores.length === 0 ? 0 : scores.reduce((sum, one) => sum + one, 0) / scores.length
  const max = Math.max(0, ...scores)
  const cutShort = ends.some(({ margin }) => margin > positionThresholdMin)
  const why = score > meanThresholdMax ? 'mean' : max > positionThresholdMin ? 'position' : cutShort ? 'ending' : null
  return { says: why === null ? 'clean' : 'hit', why, score, max }
}

/**
 * Natural logarithm of the odds against an answer that was drawn from these probabilities. At each position let X be the surprise
 * −ln p of what was given. For any exponent λ the product of e^(λX) / E[e^(λX)] is a fair bet, whatever came before (a martingale of mean 1),
 * and so is the mean over several λ. Who draws honestly wins more than c with probability at most 1/c (Ville 1939; Shafer 2021).
 * Cutting off unlikely tokens (top_p, top_k, min_p) only makes an honest draw less surprising, and such a bet poorer.
 */
function logOdds(seen: readonly SeenPrefix[], temperature: number): number {
  const bets = exponents.map((exponent) => seen.reduce((sum, one) => sum + betOf(one, temperature, exponent), 0))
  const highest = Math.max(...bets)
  const mean = bets.reduce((sum, bet) => sum + Math.exp(bet - highest), 0) / bets.length
  return highest + Math.log(mean)
}

/** What one position adds to the logarithm of a bet. All tokens that are not listed count as one, as likely as they may be together. */
function betOf({ top = [], chosen }: SeenPrefix, temperature: number, exponent: number): number {
  const likely = top.filter(({ id }) => id !== noTokenId)
  if (likely.length === 0) return 0
  const weights = likely.map(({ logit }) => Math.exp(logit / temperature))
  const rest = restOf(top, likely, temperature)
  const parts = rest === undefined ? weights : [...weights, rest]
  const all = parts.reduce((sum, one) => sum + one, 0)
  const surprise = (weight: number) => -Math.log(weight / all)
  const expected = parts.reduce((sum, weight) => sum + (weight / all) * Math.exp(exponent * surprise(weight)), 0)
  const given = likely.findIndex(({ id }) => id === chosen?.id)
  const weight = given >= 0 ? weights[given] : rest
  // Where nothing is known of the rest, to take from it is no surprise.
  return (weight === undefined ? 0 : exponent * surprise(weight)) - Math.log(expected)
}

/**
 * Weight of all that is not listed, at most. None of it is likelier than the last that is, so below temperature 1 it shrinks at least as much;
 * above, it may grow by any amount.
 */
function restOf(top: readonly LikelyPlace[], likely: readonly LikelyPlace[], temperature: number): number | undefined {
  const told = top.find(({ id }) => id === noTokenId)
  if (!told || temperature > 1) return undefined
  const last = likely.at(-1)?.logit ?? 0
  return Math.max(restMin, Math.exp(told.logit - last + last / temperature))
}

/** 1 unless it says: the API's default; a server whose own is lower draws less surprising tokens. */
function temperatureOf(body: Buffer): number {
  const { temperature } = JSON.parse(body.toString()) as { temperature?: number | null }
  return temperature ?? 1
}
