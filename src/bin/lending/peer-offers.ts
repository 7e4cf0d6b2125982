import { z } from 'zod'
import { type ModelOffer, modelOfferSchema } from '#protocol'

/** What lenders may be asked for: text without tools. A begun answer is never continued elsewhere than where the file is. */
const features = ['chat', 'completion', 'json_schema'] as const

const capabilitySchema = z.object({
  kind: z.literal('llm.chat'),
  model: modelOfferSchema.shape.name,
  worker_count: z.int().min(1).catch(1),
  digest: modelOfferSchema.shape.digest.catch(null),
  context: modelOfferSchema.shape.contextTokens.catch(8_192),
  features: z.array(z.string()).max(32).catch(['chat']),
  /** Micro-credits a token, as decimal text; what a version 1 pool takes is not known. */
  prompt_price: z
    .string()
    .regex(/^\d{1,18}$/, 'a whole number in decimal')
    .optional()
    .catch(undefined),
  completion_price: z
    .string()
    .regex(/^\d{1,18}$/, 'a whole number in decimal')
    .optional()
    .catch(undefined),
})

export interface PeerOffer {
  readonly offer: ModelOffer
  readonly workers: number
  readonly prices: { readonly prompt: bigint; readonly completion: bigint } | undefined
}

/** What a pool says it has, as far as it makes sense here. */
export function offersOf(capabilities: readonly object[], version: 1 | 2): PeerOffer[] {
  return capabilities.flatMap((one) => {
    const read = capabilitySchema.safeParse(one)
    if (!read.success) return []
    const {
      model: name,
      worker_count: workers,
      digest,
      context: contextTokens,
      prompt_price,
      completion_price,
    } = read.data
    const known = features.filter((feature) => read.data.features.includes(feature))
    const file = version === 2 ? digest : null
    const offer: ModelOffer = {
      name,
      digest: file,
      engine: file === null ? 'openai' : 'llama',
      contextTokens,
      features: version === 2 ? known : ['chat'],
    }
    const prices =
      prompt_price === undefined || completion_price === undefined
        ? undefined
        : { prompt: BigInt(prompt_price), completion: BigInt(completion_price) }
    return [{ offer, workers: Math.min(workers, 64), prices }]
  })
}
