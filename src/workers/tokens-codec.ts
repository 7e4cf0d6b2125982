import type { Token } from '#protocol'
import { workersLimits } from './limits.ts'

/** `u32 id ‖ u16 length` before each piece. */
const tokenHeaderBytes = 6

/**
 * Body of a `tokens` message (`u32 stream`, then per token `u32 id ‖ u16 length ‖ piece`), or `undefined` when it is
 * not exactly that with at least one token. Pieces are views of `body`, not copies.
 */
export function decodeTokens(body: Buffer): { stream: number; tokens: Token[] } | undefined {
  const length = body.length
  if (length < 4 + tokenHeaderBytes) return undefined
  const stream = body.readUInt32BE(0)
  const tokens: Token[] = []
  let at = 4
  while (at < length) {
    if (length - at < tokenHeaderBytes || tokens.length === workersLimits.tokensPerMessageMax) return undefined
    const id = body.readUInt32BE(at)
    const start = at + tokenHeaderBytes
    at = start + body.readUInt16BE(at + 4)
    if (at > length) return undefined
    tokens.push({ id, piece: body.subarray(start, at) })
  }
  return { stream, tokens }
}

/** The body {@link decodeTokens} reads. Pieces are at most 65,535 bytes. */
export function encodeTokens(stream: number, tokens: readonly Token[]): Buffer {
  let length = 4
  for (const token of tokens) length += tokenHeaderBytes + token.piece.length
  const body = Buffer.allocUnsafe(length)
  body.writeUInt32BE(stream, 0)
  let at = 4
  for (const token of tokens) {
    body.writeUInt32BE(token.id, at)
    body.writeUInt16BE(token.piece.length, at + 4)
    token.piece.copy(body, at + tokenHeaderBytes)
    at += tokenHeaderBytes + token.piece.length
  }
  return body
}
