import { z } from 'zod'
import { inertObject } from './common.ts'

const textPart = z.strictObject({
  type: z.literal('text'),
  text: z.string(),
  prompt_cache_breakpoint: inertObject.nullish(),
})
const imagePart = z.strictObject({
  type: z.literal('image_url'),
  image_url: z.strictObject({ url: z.string(), detail: z.enum(['auto', 'low', 'high', 'original']).nullish() }),
  prompt_cache_breakpoint: inertObject.nullish(),
})
const audioPart = z.looseObject({ type: z.literal('input_audio') })
const filePart = z.looseObject({ type: z.literal('file') })
const refusalPart = z.strictObject({ type: z.literal('refusal'), refusal: z.string() })

const textContent = z.union([z.string(), z.array(textPart).min(1)])
const userContent = z.union([
  z.string(),
  z.array(z.discriminatedUnion('type', [textPart, imagePart, audioPart, filePart])).min(1),
])
const assistantContent = z.union([z.string(), z.array(z.discriminatedUnion('type', [textPart, refusalPart])).min(1)])

const toolCall = z.discriminatedUnion('type', [
  z.looseObject({
    id: z.string(),
    type: z.literal('function'),
    function: z.looseObject({ name: z.string().min(1), arguments: z.string() }),
  }),
  z.looseObject({ id: z.string(), type: z.literal('custom') }),
])

const name = z.string().nullish()

/**
 * One message of a conversation. An assistant message may be an answer of ours (or of a helper library) handed back
 * as it was received, so its inert members are accepted.
 */
export const chatMessageSchema = z.discriminatedUnion('role', [
  z.strictObject({ role: z.literal('system'), content: textContent, name }),
  z.strictObject({ role: z.literal('developer'), content: textContent, name }),
  z.strictObject({ role: z.literal('user'), content: userContent, name }),
  z.strictObject({
    role: z.literal('assistant'),
    content: assistantContent.nullish(),
    name,
    refusal: z.string().nullish(),
    tool_calls: z.array(toolCall).nullish(),
    function_call: inertObject.nullish(),
    audio: inertObject.nullish(),
    annotations: z.array(z.unknown()).nullish(),
    parsed: z.unknown().optional(),
    reasoning: z.string().nullish(),
    reasoning_content: z.string().nullish(),
  }),
  z.strictObject({ role: z.literal('tool'), content: textContent, tool_call_id: z.string(), name }),
])
export type ChatMessage = z.infer<typeof chatMessageSchema>
