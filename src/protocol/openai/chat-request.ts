import { z } from 'zod'
import { protocolLimits } from '../limits.ts'
import { chatMessageSchema } from './chat-message.ts'
import { inertObject, modelName, samplingFields } from './common.ts'

const functionName = z.string().regex(/^[\w-]{1,64}$/, '1 to 64 letters, digits, _ and -')

const toolSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('function'),
    function: z.strictObject({
      name: functionName,
      description: z.string().nullish(),
      parameters: inertObject.nullish(),
      strict: z.boolean().nullish(),
    }),
  }),
  z.looseObject({ type: z.literal('custom') }),
])

const toolChoiceSchema = z.union([
  z.enum(['none', 'auto', 'required']),
  z.discriminatedUnion('type', [
    z.strictObject({ type: z.literal('function'), function: z.strictObject({ name: functionName }) }),
    z.looseObject({ type: z.literal('custom') }),
    z.looseObject({ type: z.literal('allowed_tools') }),
  ]),
])

const responseFormatSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({
    type: z.literal('json_schema'),
    json_schema: z.strictObject({
      name: functionName,
      description: z.string().nullish(),
      schema: inertObject.nullish(),
      strict: z.boolean().nullish(),
    }),
  }),
])

/**
 * `POST /v1/chat/completions` as OpenAI types it (its API reference, November 2026). What is typed here but cannot be
 * honoured is refused afterwards, by name, in `unsupported.ts`.
 */
export const chatRequestSchema = z.strictObject({
  model: modelName,
  messages: z.array(chatMessageSchema).min(1),
  ...samplingFields,
  max_completion_tokens: z.int().min(1).nullish(),
  max_tokens: z.int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(protocolLimits.topLogprobsMax).nullish(),
  response_format: responseFormatSchema.nullish(),
  tools: z.array(toolSchema).max(128).nullish(),
  tool_choice: toolChoiceSchema.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  functions: z.array(inertObject).nullish(),
  function_call: z.union([z.enum(['none', 'auto']), inertObject]).nullish(),
  audio: inertObject.nullish(),
  modalities: z.array(z.string()).nullish(),
  moderation: inertObject.nullish(),
  prediction: inertObject.nullish(),
  reasoning_effort: z.string().nullish(),
  verbosity: z.string().nullish(),
  web_search_options: inertObject.nullish(),
  /** The last message is the beginning of the answer, which goes on behind it (the name is vLLM's). */
  continue_final_message: z.boolean().nullish(),
  add_generation_prompt: z.boolean().nullish(),
  store: z.boolean().nullish(),
  service_tier: z.string().nullish(),
  metadata: z.record(z.string(), z.string()).nullish(),
  prompt_cache_key: z.string().nullish(),
  prompt_cache_options: inertObject.nullish(),
  prompt_cache_retention: z.string().nullish(),
  safety_identifier: z.string().nullish(),
})
export type ChatRequest = z.infer<typeof chatRequestSchema>
