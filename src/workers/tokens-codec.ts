import { bytesOf, putTokens, type Token, TokenBatch } from '#protocol'
import { workersLimits } from './limits.ts'

/** Before the tokens of a message. */
export const streamBytes = 4

/**
 * Body of a `tokens` message (`u32 stream`, then per token `u32 id ‖ u16 length ‖ piece`), or `undefined` when it is
 * not exactly that with at least one token. The tokens are a view of `body`, not a copy.
 */
export function decodeTokens(body: Buffer): { stream: number; tokens: TokenBatch } | undefined {
  if (body.length < streamBytes) return undefined
  const tokens = TokenBatch.read(body.subarray(streamBytes), workersLimits.tokensPerMessageMax)
  return tokens?.length ? { stream: body.readUInt32BE(0), tokens } : undefined
}

/** The body {@link decodeTokens} reads. Pieces are at most 65,535 bytes. */
export function encodeTokens(stream: number, tokens: readonly Token[]): Buffer {
  const body = Buffer.allocUnsafe(streamBytes + bytesOf(tokens))
  body.writeUInt32BE(stream, 0)
  putTokens(body, streamBytes, tokens)
  return body
}
