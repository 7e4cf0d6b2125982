import { PoolError, parseModelName } from '#protocol'
import { type Route, route } from '../route.ts'
import type { AllowedModels } from './choose-model.ts'
import type { ModelDirectory, ModelEntry } from './model-directory.ts'
import { modelListSchema, modelSchema } from './reply-schemas.ts'

/** A model in OpenAI's form. `id` is the name it was asked for, with its pin if it had one. */
export function toModel(entry: ModelEntry, id = entry.name, digest?: string) {
  const variants = digest === undefined ? entry.variants : entry.variants.filter((one) => one.digest === digest)
  const [first] = variants
  return {
    id,
    object: 'model' as const,
    created: entry.created,
    owned_by: 'pool',
    lichen: {
      digest: first?.digest ?? digest ?? null,
      context: first?.contextTokens ?? null,
      engine: first?.engine ?? null,
      features: [...(first?.features ?? [])],
      workers: variants.reduce((sum, variant) => sum + variant.workers, 0),
      digests: variants.flatMap((variant) => variant.digest ?? []),
    },
  }
}

const mayUse = (models: AllowedModels, name: string) => !models || models.includes(name)

/** `GET /v1/models` and `GET /v1/models/<id>`; ids may contain slashes. */
export function modelRoutes(directory: ModelDirectory): readonly Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/models',
      caller: 'client',
      summary: 'The models this key may ask for.',
      reply: modelListSchema,
      handle: ({ models }) => {
        const entries = directory.list().filter((entry) => mayUse(models, entry.name))
        return { object: 'list', data: entries.map((entry) => toModel(entry)) }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/models/*',
      caller: 'client',
      summary: 'One model.',
      reply: modelSchema,
      handle: ({ models, params }) => {
        const asked = params['*'] ?? ''
        const { name, digest } = parseModelName(asked)
        const entry = mayUse(models, name) ? directory.find(name) : undefined
        const model = entry && toModel(entry, asked, digest)
        if (model && (digest === undefined || model.lichen.digests.includes(digest))) return model
        const message = `The model \`${asked.slice(0, 200)}\` does not exist or you do not have access to it.`
        throw new PoolError('model_not_found', message, 'Ask `GET /v1/models` for what there is.', { param: 'model' })
      },
    }),
  ]
}
