import { PoolError, parseModelName } from '#protocol'
import type { Client } from '../deps.ts'
import { type Route, route } from '../route.ts'
import type { AllowedModels } from './choose-model.ts'
import type { ModelDirectory, ModelEntry } from './model-directory.ts'
import { modelListSchema, modelSchema } from './reply-schemas.ts'

/** A model in OpenAI's form. `id` is the name it was asked for, with its pin if it had one. */
export function toModel(entry: ModelEntry, id = entry.name, digest?: string, elsewhere = false) {
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
      ...(elsewhere ? { elsewhere } : {}),
    },
  }
}

const mayUse = (models: AllowedModels, name: string) => !models || models.includes(name)

/** Whether other pools may compute what this key asks for. */
const mayLeave = (client: Client | undefined) => client?.privacy === 'standard' && client.forwarding !== false

/** `GET /v1/models` and `GET /v1/models/<id>`; ids may contain slashes. `elsewhere`: what other pools would compute now. */
export function modelRoutes(
  directory: ModelDirectory,
  elsewhere: () => Pick<ModelDirectory, 'list'> | undefined,
): readonly Route[] {
  const missingHere = (client: Client | undefined) =>
    mayLeave(client) ? (elsewhere()?.list() ?? []).filter(({ name }) => !directory.find(name)) : []
  return [
    route({
      method: 'GET',
      path: '/v1/models',
      caller: 'client',
      summary: 'The models this key may ask for.',
      reply: modelListSchema,
      handle: ({ models, client }) => {
        const here = directory.list().map((entry) => toModel(entry))
        const there = missingHere(client).map((entry) => toModel(entry, entry.name, undefined, true))
        return { object: 'list', data: [...here, ...there].filter(({ id }) => mayUse(models, id)) }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/models/*',
      caller: 'client',
      summary: 'One model.',
      reply: modelSchema,
      handle: ({ models, params, client }) => {
        const asked = params['*'] ?? ''
        const { name, digest } = parseModelName(asked)
        const here = directory.find(name)
        const entry = mayUse(models, name) ? (here ?? missingHere(client).find((one) => one.name === name)) : undefined
        const model = entry && toModel(entry, asked, digest, !here)
        if (model && (digest === undefined || model.lichen.digests.includes(digest))) return model
        const message = `The model \`${asked.slice(0, 200)}\` does not exist or you do not have access to it.`
        throw new PoolError('model_not_found', message, 'Ask `GET /v1/models` for what there is.', { param: 'model' })
      },
    }),
  ]
}
