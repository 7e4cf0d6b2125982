import assert from 'node:assert'
import { reputationLimits } from './limits.ts'

/** For which cheaters the charts are drawn. */
export interface ChartParams {
  /** Shares of requests that a cheater cheats on, one chart for each, 0 … 1 exclusive of 0. */
  readonly cheatRates: readonly number[]
  /** Share of an honest worker's checks that end in a hit, 0 … 1 exclusive. */
  readonly honestHitRate: number
  /** Share of a cheater's false answers that a check sees, 0 … 1, above `honestHitRate`. */
  readonly sensitivity: number
  /** Chance of a false alarm for each check of an honest worker, all charts together. */
  readonly falseAlarmPerCheckMax: number
}

export const chartDefaults: ChartParams = {
  cheatRates: [0.3, 0.1, 0.03],
  honestHitRate: reputationLimits.honestHitRate,
  sensitivity: reputationLimits.sensitivity,
  falseAlarmPerCheckMax: reputationLimits.falseAlarmsPerMillionMax / 1e6,
}

/** What one check moves a chart by, in whole micronats (10⁻⁶ of the natural logarithm). */
export interface ChartStep {
  readonly clean: number
  readonly hit: number
}

/** Charts of one worker and model. Heights are whole micronats, so that every implementation gets the same ones. */
export interface Charts {
  readonly steps: readonly ChartStep[]
  /** A chart at or above it raises the alarm, micronats. */
  readonly alarmHeight: number
  /** One for each step, 0 or more. */
  readonly heights: readonly number[]
}

export type CheckOutcome = 'clean' | 'hit'

const micronats = (nats: number) => Math.round(nats * 1e6)

/**
 * Charts that stand at zero, or at stored heights. Page's cumulative sum charts (E. S. Page, "Continuous inspection
 * schemes", Biometrika 41, 1954), one for each kind of cheater. A chart drawn for cheat rate p expects a hit in
 * e₁ = e₀ + p(s − e₀) of a cheater's checks and in e₀ of an honest worker's; a check moves it by the logarithm of the
 * likelihood ratio (Wald, "Sequential Analysis", 1947): ln(e₁/e₀) for a hit, ln((1 − e₁)/(1 − e₀)) for a clean one.
 *
 * k charts alarm at h = ln(k/α). A chart stands at h after check n only if the likelihood ratio since some earlier check
 * reached k/α. For an honest worker that ratio is a martingale of mean 1, so each start has a chance of at most α/k
 * (Ville 1939), and n checks raise a false alarm with a chance of at most nα.
 */
export function newCharts(params: ChartParams = chartDefaults, heights?: readonly number[]): Charts {
  const { cheatRates, honestHitRate: e0, sensitivity, falseAlarmPerCheckMax } = params
  assert(cheatRates.length > 0 && cheatRates.length <= reputationLimits.chartsMax, 'between one chart and chartsMax')
  assert(e0 > 0 && e0 < sensitivity && sensitivity <= 1, 'an honest worker is hit, but more rarely than a cheater')
  assert(falseAlarmPerCheckMax > 0 && falseAlarmPerCheckMax < 1, 'the chance of a false alarm is between 0 and 1')
  const steps = cheatRates.map((p): ChartStep => {
    const e1 = e0 + p * (sensitivity - e0)
    assert(p > 0 && e1 < 1, 'a cheater cheats, and not every check of one is a hit')
    return { clean: micronats(Math.log((1 - e1) / (1 - e0))), hit: micronats(Math.log(e1 / e0)) }
  })
  const charts = {
    steps,
    alarmHeight: micronats(Math.log(cheatRates.length / falseAlarmPerCheckMax)),
    heights: heights ?? steps.map(() => 0),
  }
  assert(charts.heights.length === steps.length, 'one height for each chart')
  assert(
    charts.heights.every((height) => Number.isSafeInteger(height) && height >= 0),
    'heights are 0 or more',
  )
  return charts
}

/** One check later. `above`: some chart stands above zero, so check everything; `alarm`: some chart reached its end. */
export function updateCharts(
  charts: Charts,
  outcome: CheckOutcome,
): { readonly charts: Charts; readonly above: boolean; readonly alarm: boolean } {
  const heights = new Array<number>(charts.heights.length)
  const highest = moveHeights(charts, charts.heights, outcome, heights)
  return { charts: { ...charts, heights }, above: highest > 0, alarm: highest >= charts.alarmHeight }
}

/** The rule itself, without an object for each step: where `heights` are after one check, written to `into`. Gives the highest. */
export function moveHeights(
  { steps }: Pick<Charts, 'steps'>,
  heights: readonly number[],
  outcome: CheckOutcome,
  into: number[],
): number {
  let highest = 0
  for (let i = 0; i < heights.length; i++) {
    const height = Math.max(0, (heights[i] ?? 0) + (steps[i]?.[outcome] ?? 0))
    into[i] = height
    if (height > highest) highest = height
  }
  return highest
}
