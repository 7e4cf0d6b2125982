import type { FeatureNeed } from '#protocol'
import type { ModelDirectory } from './model-directory.ts'

/** Models that may stand in for each other. */
export interface Tier {
  readonly name: string
  /** Preferred ones first. */
  readonly models: readonly string[]
}

/** Small tiers first, and where to look when one is down. */
export interface Tiers {
  readonly list: readonly Tier[]
  /** `down`: smaller tiers, the nearest first; `up`: larger ones; `any`: first down, then up. */
  readonly degradation: 'never' | 'down' | 'up' | 'any'
}

/**
 * The model that answers in place of one nobody offers now: of the same tier, else of the next that is not down. Undefined when the policy, the
 * key (`allowed`: the names it may ask for) or what the request needs leaves none.
 */
export function standInFor(
  asked: string,
  { list, degradation }: Tiers,
  models: Pick<ModelDirectory, 'find'>,
  allowed: readonly string[] | undefined,
  needs: readonly FeatureNeed[],
): string | undefined {
  const at = list.findIndex((tier) => tier.models.includes(asked))
  if (at < 0 || degradation === 'never') return undefined
  const smaller = degradation === 'up' ? [] : list.slice(0, at).reverse()
  const larger = degradation === 'down' ? [] : list.slice(at + 1)
  const names = [...list.slice(at, at + 1), ...smaller, ...larger].flatMap((tier) => tier.models)
  return names.find((name) => {
    if (name === asked || (allowed && !allowed.includes(name))) return false
    const variants = models.find(name)?.variants ?? []
    return variants.some(({ features }) => needs.every(({ feature }) => features.includes(feature)))
  })
}
