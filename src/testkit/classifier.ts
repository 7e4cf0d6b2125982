/** A small classifier for tests that ask what can be told apart. */
export interface Case {
  readonly features: readonly number[]
  readonly is: boolean
}

interface Stump {
  readonly feature: number
  readonly above: number
  readonly weight: number
}

const rounds = 40
const cuts = 24

/**
 * AdaBoost over decision stumps (Freund and Schapire 1997), both classes of equal weight at the start. The score grows with the
 * likeliness of being one.
 */
export function boosted(cases: readonly Case[]): (features: readonly number[]) => number {
  const positives = cases.filter(({ is }) => is).length
  const weights = cases.map(({ is }) => 0.5 / (is ? positives : cases.length - positives))
  const candidates = stumpsOf(cases)
  const chosen: Stump[] = []
  for (let round = 0; round < rounds; round++) {
    let best: { feature: number; above: number; error: number } | undefined
    for (const { feature, above, says } of candidates) {
      let error = 0
      for (let n = 0; n < cases.length; n++) if ((says[n] === 1) !== cases[n]?.is) error += weights[n] ?? 0
      if (!best || Math.abs(error - 0.5) > Math.abs(best.error - 0.5)) best = { feature, above, error }
    }
    if (!best || Math.abs(best.error - 0.5) < 1e-6) break
    const error = Math.min(1 - 1e-6, Math.max(1e-6, best.error))
    const stump = { feature: best.feature, above: best.above, weight: 0.5 * Math.log((1 - error) / error) }
    chosen.push(stump)
    let sum = 0
    for (const [n, { features, is }] of cases.entries()) {
      weights[n] = (weights[n] ?? 0) * Math.exp(is ? -vote(stump, features) : vote(stump, features))
      sum += weights[n] ?? 0
    }
    for (let n = 0; n < weights.length; n++) weights[n] = (weights[n] ?? 0) / sum
  }
  return (features) => chosen.reduce((sum, stump) => sum + vote(stump, features), 0)
}

const vote = ({ feature, above, weight }: Stump, features: readonly number[]) =>
  (features[feature] ?? 0) > above ? weight : -weight

/** Every feature, cut at its quantiles; what each says of every case. */
function stumpsOf(cases: readonly Case[]): { feature: number; above: number; says: Uint8Array }[] {
  return (cases[0]?.features ?? []).flatMap((_, feature) => {
    const values = cases.map(({ features }) => features[feature] ?? 0)
    const sorted = values.toSorted((a, b) => a - b)
    const at = new Set(
      Array.from({ length: cuts }, (_, n) => sorted[Math.floor(((n + 0.5) / cuts) * sorted.length)] ?? 0),
    )
    return [...at].map((above) => ({
      feature,
      above,
      says: Uint8Array.from(values, (value) => (value > above ? 1 : 0)),
    }))
  })
}

/** Chance that one that is scores above one that is not (Hanley and McNeil 1982); ties count a half. */
export function areaUnderCurve(scored: readonly { readonly score: number; readonly is: boolean }[]): number {
  const sorted = scored.toSorted((a, b) => a.score - b.score)
  let [ranks, positives] = [0, 0]
  for (let from = 0; from < sorted.length; ) {
    let to = from
    while (to < sorted.length && sorted[to]?.score === sorted[from]?.score) to++
    const rank = (from + 1 + to) / 2
    for (let n = from; n < to; n++) {
      if (!sorted[n]?.is) continue
      ranks += rank
      positives++
    }
    from = to
  }
  return (ranks - (positives * (positives + 1)) / 2) / (positives * (sorted.length - positives))
}
