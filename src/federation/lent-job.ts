import { createHash } from 'node:crypto'
import { z } from 'zod'
import { verifySignature } from '#crypto'
import {
  type FinishReason,
  hex64,
  noTextId,
  noTokenId,
  type PoolId,
  parseJson,
  pieceBytesMax,
  type Token,
} from '#protocol'
import { streamBytes } from './envelope.ts'
import { federationLimits } from './limits.ts'
import type { Callee, Opened } from './outbound.ts'
import { readEvents, signatureEvent } from './stream-events.ts'

const base64 = z.base64().transform((text) => Buffer.from(text, 'base64'))
const uuid = z.uuid()

/** What version 1 asks: a conversation, answered whole. */
export const v1JobSchema = z.object({
  origin_pool_id: hex64,
  origin_request_id: z.string().min(1).max(200),
  messages: z.array(z.looseObject({})).min(1).max(10_000),
  model: z.string().min(1).max(200).nullish(),
  max_tokens: z.int().min(1).max(1_000_000),
  conv_id: z.string().max(200).nullish(),
})

/** What version 1 answers. */
export const v1AnswerSchema = z.object({
  ok: z.literal(true),
  response: z.string().max(1_000_000),
  tokens_in: z.int().min(0).max(100_000_000),
  tokens_out: z.int().min(0).max(100_000_000),
  exec_pool_id: hex64,
  origin_request_id: z.string(),
})

/** What version 2 asks: the client's body untouched, and this pool's assignment as to a worker of it. */
export const v2JobSchema = z.strictObject({
  origin_pool_id: hex64,
  origin_request_id: uuid,
  kind: z.enum(['chat', 'completion']),
  body: base64,
  /** Signed `assignment/1` in wire form. */
  assignment: base64,
  /** Opens its commitment to the body. */
  salt: base64,
  deadline_ms: z.int().min(1).max(86_400_000),
})

const tokenId = z
  .int()
  .min(0)
  .max(noTokenId)
  .refine((id) => id !== noTextId)
const tokenSchema = z.tuple([tokenId, base64.refine((piece) => piece.length <= pieceBytesMax)])
const frameSchema = z.union([
  z.strictObject({ tokens: z.array(tokenSchema).max(65_536) }),
  z.strictObject({
    end: z.strictObject({
      finish: z.enum(['stop', 'length', 'tool_calls', 'content_filter']),
      prompt_tokens: z.int().min(0),
      completion_tokens: z.int().min(0),
      /** Signed `worker-statement/1` in wire form: the pool answers for it as a worker does. */
      statement: base64,
    }),
  }),
  z.strictObject({
    failed: z.strictObject({ code: z.string().max(100), message: z.string().max(1_000), busy: z.boolean() }),
  }),
])

/** One event of a lent answer; `end` or `failed` is the last. */
export type LentFrame =
  | { readonly tokens: readonly Pick<Token, 'id' | 'piece'>[] }
  | {
      readonly end: {
        readonly finish: FinishReason
        readonly promptTokens: number
        readonly completionTokens: number
        readonly statement: Buffer
      }
    }
  | { readonly failed: { readonly code: string; readonly message: string; readonly busy: boolean } }

export function writeFrame(frame: LentFrame): Buffer {
  const json =
    'tokens' in frame
      ? { tokens: frame.tokens.map(({ id, piece }) => [id, piece.toString('base64')]) }
      : 'end' in frame
        ? {
            end: {
              finish: frame.end.finish,
              prompt_tokens: frame.end.promptTokens,
              completion_tokens: frame.end.completionTokens,
              statement: frame.end.statement.toString('base64'),
            },
          }
        : frame
  return Buffer.from(`data: ${JSON.stringify(json)}\n\n`)
}

const jsonLimits = { bodyBytesMax: federationLimits.lentEventBytesMax, jsonDepthMax: 8 }

function readFrame(event: Buffer): LentFrame {
  const text =
    event.subarray(0, 6).toString('latin1') === 'data: ' ? parseJson(event.subarray(6, -2), jsonLimits) : undefined
  const read = text?.ok ? frameSchema.safeParse(text.value) : undefined
  if (!read?.success) throw new ForgedStream('It sent an event that no lent answer has.')
  const frame = read.data
  if ('tokens' in frame) return { tokens: frame.tokens.map(([id, piece]) => ({ id, piece })) }
  if ('failed' in frame) return frame
  const { finish, prompt_tokens: promptTokens, completion_tokens: completionTokens, statement } = frame.end
  return { end: { finish, promptTokens, completionTokens, statement } }
}

/** What was said is not what was signed, or nothing was. */
export class ForgedStream extends Error {}

/** The frames of a lent answer as they come. The last one is given once the signature over all of them holds; without it this throws. */
export async function* readLentAnswer(
  { known }: Callee,
  self: PoolId,
  { pieces, requestHash, status, contentType }: Opened,
): AsyncGenerator<LentFrame, void> {
  const hash = createHash('sha256')
  let last: LentFrame | undefined
  for await (const event of readEvents(pieces)) {
    if (event.subarray(0, signatureEvent.length).toString('latin1') === signatureEvent) {
      const signature = Buffer.from(event.subarray(signatureEvent.length).toString('latin1').trim(), 'base64')
      const parts = { responder: known?.id ?? '', asker: self, requestHash, status, contentType, hash: hash.digest() }
      if (!last || !known || signature.length !== 64 || !verifySignature(known.key, streamBytes(parts), signature))
        throw new ForgedStream('Its answer is not signed.')
      yield last
      return
    }
    if (last) throw new ForgedStream('It went on after the end of its answer.')
    hash.update(event)
    const frame = readFrame(event)
    if ('tokens' in frame) yield frame
    else last = frame
  }
  throw new ForgedStream('Its answer broke off without a signature.')
}
