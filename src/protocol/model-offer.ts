import { z } from 'zod'
import { hex64 } from './hex64.ts'
import { protocolLimits } from './limits.ts'

/** What a model on a worker can be asked for. */
export const modelFeatures = [
  'chat',
  'completion',
  'embedding',
  'logprobs',
  'json_schema',
  'tools',
  'resume',
  'vision',
  'continue',
] as const
export type ModelFeature = (typeof modelFeatures)[number]

/** One model a worker lends. */
export const modelOfferSchema = z.strictObject({
  /** The name clients ask for. */
  name: z
    .string()
    .min(1)
    .max(protocolLimits.modelNameCharsMax)
    .regex(/^[\w][\w.:/@+-]*$/u, 'letters, digits and . : / @ + - _'),
  /** Lowercase hex sha256 of the model file; null for an upstream, which has no file to name. */
  digest: hex64.nullable(),
  engine: z.enum(['llama', 'openai']),
  /** Tokens of prompt and answer together. */
  contextTokens: z.int().min(1).max(16_777_216),
  features: z.array(z.enum(modelFeatures)).max(modelFeatures.length),
})
export type ModelOffer = z.infer<typeof modelOfferSchema>
