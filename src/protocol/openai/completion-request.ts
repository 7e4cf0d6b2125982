import { z } from 'zod'
import { modelName, samplingFields } from './common.ts'

const tokenIds = z.array(z.int().min(0)).min(1)

/** `POST /v1/completions` as OpenAI types it. What cannot be honoured is refused afterwards, in `unsupported.ts`. */
export const completionRequestSchema = z.strictObject({
  model: modelName,
  prompt: z.union([z.string(), z.array(z.string()).min(1), tokenIds, z.array(tokenIds).min(1)]).nullish(),
  ...samplingFields,
  max_tokens: z.int().min(0).nullish(),
  /** How many likelier tokens to list at each position; the chosen one is always listed. */
  logprobs: z.int().min(0).max(5).nullish(),
  best_of: z.int().min(0).max(20).nullish(),
  echo: z.boolean().nullish(),
  suffix: z.string().nullish(),
})
export type CompletionRequest = z.infer<typeof completionRequestSchema>
