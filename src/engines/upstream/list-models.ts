import { z } from 'zod'
import { type ModelOffer, modelOfferSchema, protocolLimits } from '#protocol'
import { engineLimits } from '../limits.ts'
import { refuseStatus } from './refuse-status.ts'
import { readJson, readText, type UpstreamClient, UpstreamFault } from './upstream-client.ts'

const size = z.int().min(1).max(16_777_216).nullish().catch(undefined)
/** `GET /v1/models`; vLLM, llama-server and OpenRouter each say the context size in their own member. */
export const modelListSchema = z.object({
  data: z.array(
    z.object({
      id: z.string(),
      max_model_len: size,
      context_length: size,
      meta: z.object({ n_ctx_train: size }).nullish().catch(undefined),
    }),
  ),
})
type Listed = z.infer<typeof modelListSchema>['data'][number]

/** A model of an upstream and what it is called here. */
export interface UpstreamModel {
  readonly name: string
  /** Its name there. Default: the same. */
  readonly upstream?: string
}

export async function listModels(client: UpstreamClient, signal: AbortSignal): Promise<readonly Listed[]> {
  const response = await client.get('/models', signal)
  if (response.statusCode !== 200) {
    const text = await readText(response.body, engineLimits.upstreamListBytesMax, signal)
    throw refuseStatus(response.statusCode, client.hideKey(text))
  }
  const list = modelListSchema.safeParse(await readJson(response.body, engineLimits.upstreamListBytesMax, signal))
  if (!list.success) throw new UpstreamFault('the upstream sent something that is no list of models')
  return list.data.data
}

const contextOf = (model: Listed) => model.max_model_len ?? model.context_length ?? model.meta?.n_ctx_train

/** What the worker offers of the upstream's models: those named, or all whose name a client can say. */
export function offersOf(
  listed: readonly Listed[],
  wanted: readonly UpstreamModel[] | undefined,
  contextTokens: number,
): ModelOffer[] {
  const models: readonly UpstreamModel[] = wanted ?? listed.map(({ id }) => ({ name: id }))
  return models
    .flatMap(({ name, upstream = name }) => {
      const model = listed.find(({ id }) => id === upstream)
      if (!model) return []
      const offer = modelOfferSchema.safeParse({
        name,
        digest: null,
        engine: 'openai',
        contextTokens: contextOf(model) ?? contextTokens,
        features: ['chat', 'completion', 'embedding', 'logprobs', 'json_schema', 'tools', 'vision'],
      })
      return offer.success ? [offer.data] : []
    })
    .slice(0, protocolLimits.modelsPerWorkerMax)
}
