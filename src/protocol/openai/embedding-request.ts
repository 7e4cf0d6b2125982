import { z } from 'zod'
import { protocolLimits } from '../limits.ts'
import { assurance, modelName } from './common.ts'

const inputsMax = protocolLimits.embeddingInputsMax
const tokenIds = z.array(z.int().min(0)).min(1).max(inputsMax)

/** `POST /v1/embeddings` as OpenAI types it. Token ids are typed here and refused in `unsupported.ts`. */
export const embeddingRequestSchema = z.strictObject({
  model: modelName,
  input: z.union([
    z.string().min(1),
    z.array(z.string().min(1)).min(1).max(inputsMax),
    tokenIds,
    z.array(tokenIds).min(1).max(inputsMax),
  ]),
  encoding_format: z.enum(['float', 'base64']).nullish(),
  dimensions: z.int().min(1).nullish(),
  user: z.string().nullish(),
  assurance,
})
export type EmbeddingRequest = z.infer<typeof embeddingRequestSchema>
