import assert from 'node:assert'
import { verificationLimits } from './limits.ts'

const { heldPrices, margin, sampledPpmMin, saving, sensitivity } = verificationLimits

/** What cheating brings and costs; shares of the price of a request where nothing else is said. */
export interface Deterrence {
  /** What a worker saves by not computing an answer, above 0, at most 1. */
  readonly saving: number
  /** What an honest worker keeps of the price after its costs, above 0, at most 1. */
  readonly margin: number
  /** Lowest check rate of a worker with a long clean record, parts per million, above 0. */
  readonly checkRatePpm: number
  /** Share of false answers that a check sees, above 0, at most 1. */
  readonly sensitivity: number
}

/** What a pool assumes as long as it is not told otherwise. */
export const deterrenceDefaults = { saving, margin, checkRatePpm: sampledPpmMin, sensitivity, heldPrices } as const

/**
 * Earnings to hold, in prices of a request, so that cheating never pays: ⌈g/(m · q · s)⌉.
 *
 * A worker that cheats on a share p of the W requests in the holding window earns W(m + pg) if nobody notices, with chance
 * (1 − qs)^(pW), instead of an honest Wm. Cheating does not pay if (1 + pg/m)(1 − qs)^(pW) ≤ 1 for all p. From 1 + x ≤ eˣ
 * and 1 − x ≤ e⁻ˣ the left side is at most e^(p(g/m − qsW)), so W ≥ g/(mqs) is enough (deterrence by fines times
 * probability: G. S. Becker, "Crime and Punishment", 1968).
 */
export function holdingNeeded({ saving, margin, checkRatePpm, sensitivity }: Deterrence): number {
  const shares = [saving, margin, checkRatePpm / 1e6, sensitivity]
  assert(
    shares.every((share) => share > 0 && share <= 1),
    'shares lie between 0 and 1',
  )
  // The quotient is rounded to 10⁻⁹ first, for 0.8/(0.2 · 0.1 · 0.8) is 50 and not 51.
  return Math.ceil(Math.round((saving * 1e15) / (margin * checkRatePpm * sensitivity)) / 1e9)
}

/** Why a pool cannot start like this, with what to do. */
export interface ProfitableCheating {
  readonly code: 'cheating_pays'
  readonly message: string
  readonly fix: string
  readonly needed: number
}

/** A configuration under which cheating pays is refused, with the numbers; `undefined` for one under which it does not. */
export function refuseProfitable(config: Deterrence & { readonly heldPrices: number }): ProfitableCheating | undefined {
  const needed = holdingNeeded(config)
  if (config.heldPrices >= needed) return undefined
  const { saving, margin, checkRatePpm, sensitivity, heldPrices } = config
  const percent = (share: number) => `${Number((100 * share).toPrecision(3))} %`
  return {
    code: 'cheating_pays',
    message:
      `Cheating would pay: a worker saves ${percent(saving)} of a price, ${percent(checkRatePpm / 1e6)} of answers are checked, ` +
      `a check sees ${percent(sensitivity)} of false ones, and only ${heldPrices} prices are held with a margin of ${percent(margin)}.`,
    fix: `Hold at least ${needed} prices, or check more.`,
    needed,
  }
}
