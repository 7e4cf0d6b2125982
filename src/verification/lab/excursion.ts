import { type Charts, moveHeights } from '#reputation'

/**
 * What becomes of charts that stand above zero: index L is the chance that it ends with the L-th check from now, by the
 * alarm or back at zero. The two sum to 1.
 */
export interface Excursion {
  readonly alarm: readonly number[]
  readonly back: readonly number[]
}

interface State {
  p: number
  heights: number[]
}

/** States nearer to each other than this (micronats, a 30th of the way to the alarm) are followed as their mean. */
const width = 500_000
/** A state rarer than this is no longer followed; what became of the others stands for it. */
const rare = 1e-10
/** No excursion is followed for longer; only charts that hardly fall come near. */
const checksMax = 20_000

/**
 * Follows the distribution of the charts' heights, one check at a time, with a chance `hit` of each: the Markov chain of
 * D. Brook and D. A. Evans, "An approach to the probability distribution of CUSUM run length", Biometrika 59 (1972), on
 * the heights that can be reached instead of on a fixed grid. Heights in one cell are replaced by their mean, which moves
 * no first moment; cells a fifth as wide change the mean delay by less than 0.1 %.
 */
export function excursionOf(charts: Charts, hit: number): Excursion {
  const [alarm, back] = [[0], [0]]
  let now: State[] = [{ p: 1, heights: [...charts.heights] }]
  let rest = 0
  const next = charts.heights.slice()
  for (let check = 1; now.length > 0 && check <= checksMax; check++) {
    const cells = new Map<number, State>()
    let [alarmed, returned] = [0, 0]
    for (const { p, heights } of now) {
      for (const outcome of ['clean', 'hit'] as const) {
        const weight = p * (outcome === 'hit' ? hit : 1 - hit)
        const highest = moveHeights(charts, heights, outcome, next)
        if (highest >= charts.alarmHeight) alarmed += weight
        else if (highest === 0) returned += weight
        else if (weight < rare) rest += weight
        else merge(cells, weight, next)
      }
    }
    alarm[check] = alarmed
    back[check] = returned
    now = [...cells.values()]
  }
  const followed = 1 - now.reduce((sum, { p }) => sum + p, rest)
  return { alarm: alarm.map((p) => p / followed), back: back.map((p) => p / followed) }
}

function merge(cells: Map<number, State>, p: number, heights: readonly number[]): void {
  let cell = 0
  for (const height of heights) cell = cell * 1024 + (height === 0 ? 0 : 1 + Math.floor(height / width))
  const known = cells.get(cell)
  if (!known) {
    cells.set(cell, { p, heights: [...heights] })
    return
  }
  known.p += p
  for (let i = 0; i < heights.length; i++) {
    const mean = known.heights[i] ?? 0
    known.heights[i] = mean + (((heights[i] ?? 0) - mean) * p) / known.p
  }
}
