import type { z } from 'zod'
import { parseJson } from '../parse-json.ts'
import type { Refusal } from '../pool-error.ts'
import { chatRequestSchema } from './chat-request.ts'
import { completionRequestSchema } from './completion-request.ts'
import { embeddingRequestSchema } from './embedding-request.ts'
import { explainIssue } from './explain-issue.ts'
import type { OpenAiKind, OpenAiRequests } from './request-parts.ts'
import { refuseChat, refuseCompletion, refuseEmbedding } from './unsupported.ts'

/** A parsed body, or why not. */
type Parsed<T> = { readonly ok: true; readonly request: T } | { readonly ok: false; readonly refusal: Refusal }

type Rules<T> = { readonly schema: z.ZodType<T>; readonly refuse: (request: T) => Refusal | undefined }

const rules: { readonly [K in OpenAiKind]: Rules<OpenAiRequests[K]> } = {
  chat: { schema: chatRequestSchema, refuse: refuseChat },
  completion: { schema: completionRequestSchema, refuse: refuseCompletion },
  embedding: { schema: embeddingRequestSchema, refuse: refuseEmbedding },
}

/**
 * Parses the raw body of an OpenAI request: strict JSON, OpenAI's types and ranges, nothing unknown, nothing that
 * would be ignored although it changes the answer. Pool and worker run the same code on the same bytes.
 */
export function parseOpenAiRequest<K extends OpenAiKind>(kind: K, body: Buffer): Parsed<OpenAiRequests[K]> {
  const json = parseJson(body)
  if (!json.ok) return json
  const { schema, refuse } = rules[kind]
  const parsed = schema.safeParse(json.value)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    if (!issue) throw new Error('zod refused a body without saying why')
    return { ok: false, refusal: explainIssue(issue, json.value) }
  }
  const refusal = refuse(parsed.data)
  return refusal ? { ok: false, refusal } : { ok: true, request: parsed.data }
}
