import { z } from 'zod'
import { modelFeatures } from '#protocol'

const count = z.int().min(0)

const usageSchema = z.strictObject({
  prompt_tokens: count,
  completion_tokens: count,
  total_tokens: count,
  prompt_tokens_details: z.strictObject({ cached_tokens: count, audio_tokens: count }),
  completion_tokens_details: z.strictObject({
    reasoning_tokens: count,
    audio_tokens: count,
    accepted_prediction_tokens: count,
    rejected_prediction_tokens: count,
  }),
})

const tokenLogprob = z.strictObject({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()) })
const chatLogprobs = z.strictObject({
  content: z.array(z.strictObject({ ...tokenLogprob.shape, top_logprobs: z.array(tokenLogprob) })),
  refusal: z.null(),
})
const toolCall = z.looseObject({
  id: z.string(),
  type: z.literal('function'),
  function: z.looseObject({ name: z.string(), arguments: z.string() }),
})
const finishReason = z.enum(['stop', 'length', 'tool_calls', 'content_filter'])

/** Members every chat answer has, whole or in pieces. */
const chatHead = {
  id: z.string(),
  created: z.int(),
  model: z.string(),
  service_tier: z.literal('default'),
  /** `fp_` and the first ten digits of the model file's sha256; null for an upstream. */
  system_fingerprint: z.string().nullable(),
}

/** `chat.completion`. */
export const chatCompletionSchema = z.strictObject({
  ...chatHead,
  object: z.literal('chat.completion'),
  choices: z.array(
    z.strictObject({
      index: count,
      message: z.looseObject({
        role: z.literal('assistant'),
        content: z.string().nullable(),
        refusal: z.string().nullable(),
        annotations: z.array(z.unknown()),
        tool_calls: z.array(toolCall).optional(),
      }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: finishReason,
    }),
  ),
  usage: usageSchema,
})

/** `chat.completion.chunk`: the data of one event of a stream. */
export const chatChunkSchema = z.strictObject({
  ...chatHead,
  object: z.literal('chat.completion.chunk'),
  choices: z.array(
    z.strictObject({
      index: count,
      delta: z.looseObject({ role: z.literal('assistant').optional(), content: z.string().optional() }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: finishReason.nullable(),
    }),
  ),
  usage: usageSchema.nullable().optional(),
})

const legacyLogprobs = z.strictObject({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number()),
  top_logprobs: z.array(z.record(z.string(), z.number())).nullable(),
  text_offset: z.array(count),
})

/** `text_completion`, whole and as the data of one event. */
export const completionSchema = z.strictObject({
  id: z.string(),
  object: z.literal('text_completion'),
  created: z.int(),
  model: z.string(),
  system_fingerprint: z.string().nullable(),
  choices: z.array(
    z.strictObject({
      text: z.string(),
      index: count,
      logprobs: legacyLogprobs.nullable(),
      finish_reason: finishReason.nullable(),
    }),
  ),
  usage: usageSchema.nullable().optional(),
})

/** `list` of `embedding`. */
export const embeddingListSchema = z.strictObject({
  object: z.literal('list'),
  data: z.array(
    z.strictObject({
      object: z.literal('embedding'),
      index: count,
      /** Base64 of 32-bit little-endian floats when the request said so. */
      embedding: z.union([z.array(z.number()), z.string()]),
    }),
  ),
  model: z.string(),
  usage: z.strictObject({ prompt_tokens: count, total_tokens: count }),
})

/** `model`, with what only a pool can say. */
export const modelSchema = z.strictObject({
  id: z.string(),
  object: z.literal('model'),
  created: z.int(),
  owned_by: z.string(),
  lichen: z.strictObject({
    /** sha256 of the file that most workers offer; null for an upstream or while nobody is connected. */
    digest: z.string().nullable(),
    /** Tokens of prompt and answer together; null while nobody is connected. */
    context: z.int().nullable(),
    engine: z.string().nullable(),
    features: z.array(z.enum(modelFeatures)),
    workers: count,
    /** Every file offered under this name; ask for one with `name@digest`. */
    digests: z.array(z.string()),
    /** Nobody here has it: other pools would compute it, and `workers` are theirs. */
    elsewhere: z.literal(true).optional(),
  }),
})

export const modelListSchema = z.strictObject({ object: z.literal('list'), data: z.array(modelSchema) })

/** OpenAI's error envelope. */
export const errorSchema = z.strictObject({
  error: z.strictObject({
    message: z.string(),
    type: z.string(),
    param: z.string().nullable(),
    code: z.string(),
  }),
})
