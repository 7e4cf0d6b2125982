import { z } from 'zod'
import { modelFeatures } from '#protocol'
import type { ModelDirectory } from '../openai/model-directory.ts'
import { type Route, route } from '../route.ts'
import { timeSchema, timeText } from './page.ts'

const modelsSchema = z.strictObject({
  object: z.literal('list'),
  data: z.array(
    z.strictObject({
      object: z.literal('offered_model'),
      id: z.string(),
      /** When this process first saw the name. */
      since: timeSchema,
      /** One for each file, engine, context and set of features offered under the name; most workers first. */
      variants: z.array(
        z.strictObject({
          digest: z.string().nullable(),
          engine: z.string(),
          context: z.int(),
          features: z.array(z.enum(modelFeatures)),
          workers: z.int(),
        }),
      ),
    }),
  ),
})

/** What approved workers offer now, told apart by file. */
export function offeredModelRoutes(models: ModelDirectory): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/admin/models',
      caller: 'auditor',
      summary: 'What approved workers offer now, file by file.',
      reply: modelsSchema,
      handle: (): z.infer<typeof modelsSchema> => ({
        object: 'list',
        data: models.list().map(({ name, created, variants }) => ({
          object: 'offered_model',
          id: name,
          since: timeText(created * 1_000),
          variants: variants.map(({ contextTokens, features, ...rest }) => {
            return { ...rest, context: contextTokens, features: [...features] }
          }),
        })),
      }),
    }),
  ]
}
