import { type FeatureNeed, PoolError, parseModelName } from '#protocol'
import type { ModelDirectory, ModelVariant } from './model-directory.ts'

/** The model a request is for. */
export interface ChosenModel {
  /** Its name without a pin. */
  readonly name: string
  /** The file the client insists on. */
  readonly digest: string | undefined
  /** Largest context of those that can do what is needed; undefined while nobody is here to tell. */
  readonly contextTokens: number | undefined
  /** OpenAI `system_fingerprint`: the model file; null for an upstream or while nobody is here. */
  readonly fingerprint: string | null
}

/** The names a key may ask for, or `undefined` for all. */
export type AllowedModels = readonly string[] | undefined

/**
 * Finds the model and refuses what none of its files can do. When nobody offers the name now the request is let
 * through: whether it was ever known, and whether to wait, is for the room of jobs.
 */
export function chooseModel(
  directory: ModelDirectory,
  asked: string,
  allowed: AllowedModels,
  needs: readonly FeatureNeed[],
): ChosenModel {
  const { name, digest } = parseModelName(asked)
  if (allowed && !allowed.includes(name)) throw notAllowed(name)
  const offered = directory.find(name)?.variants ?? []
  const wanted = digest === undefined ? offered : offered.filter((one) => one.digest === digest)
  const able = wanted.length > 0 ? ableOf(wanted, needs, asked) : []
  const named = digest ?? able[0]?.digest
  return {
    name,
    digest,
    contextTokens: able.length > 0 ? Math.max(...able.map((variant) => variant.contextTokens)) : undefined,
    fingerprint: named ? `fp_${named.slice(0, 10)}` : null,
  }
}

/** Variants that can do everything; refuses with the first need that none of them meets. */
function ableOf(
  variants: readonly ModelVariant[],
  needs: readonly FeatureNeed[],
  asked: string,
): readonly ModelVariant[] {
  let left = variants
  for (const need of needs) {
    left = left.filter((variant) => variant.features.includes(need.feature))
    if (left.length === 0) throw cannot(asked, need)
  }
  return left
}

function cannot(asked: string, { feature, param }: FeatureNeed): PoolError {
  if (param === 'model') {
    const message = `The model \`${asked}\` does not do what this endpoint is for (\`${feature}\`).`
    return new PoolError('invalid_request', message, 'Use another endpoint or another model.', { param })
  }
  const message = `The model \`${asked}\` does not offer \`${feature}\`, which '${param}' asks for.`
  const fix = 'Leave it out, or choose a model that lists the feature in `GET /v1/models`.'
  return new PoolError('unsupported_parameter', message, fix, { param })
}

function notAllowed(name: string): PoolError {
  const message = `This API key may not use the model \`${name}\`.`
  return new PoolError('model_not_allowed', message, 'Ask `GET /v1/models` for what it may use.', { param: 'model' })
}
