import type { Token } from '#protocol'
import { workersLimits } from './limits.ts'

/** `u32 id ‖ u16 length` before each piece. */
const tokenHeaderBytes = 6

/**
 * Body of a `tokens` message (`u32 stream`, then per token `u32 id ‖ u16 length ‖ piece`), or `undefined` when it is
 * not exactly that with at least one token. Pieces are views of `body`, not copies.
 */
export function decodeTokens(body: Buffer): { stream: number; tokens: Token[] } | undefined {
  if (body.length < 4) return undefined
  const tokens = readTokens(body.subarray(4), workersLimits.tokensPerMessageMax)
  return tokens?.length ? { stream: body.readUInt32BE(0), tokens } : undefined
}

/** Tokens that fill `bytes` exactly, at most so many. */
export function readTokens(bytes: Buffer, tokensMax: number): Token[] | undefined {
  const tokens: Token[] = []
  let at = 0
  while (at < bytes.length) {
    if (bytes.length - at < tokenHeaderBytes || tokens.length === tokensMax) return undefined
    const id = bytes.readUInt32BE(at)
    const start = at + tokenHeaderBytes
    at = start + bytes.readUInt16BE(at + 4)
    if (at > bytes.length) return undefined
    tokens.push({ id, piece: bytes.subarray(start, at) })
  }
  return tokens
}

/** The body {@link decodeTokens} reads. Pieces are at most 65,535 bytes. */
export function encodeTokens(stream: number, tokens: readonly Token[]): Buffer {
  const body = Buffer.allocUnsafe(4 + bytesOf(tokens))
  body.writeUInt32BE(stream, 0)
  putTokens(body, 4, tokens)
  return body
}

/** What {@link readTokens} reads. */
export function writeTokens(tokens: readonly Pick<Token, 'id' | 'piece'>[]): Buffer {
  const bytes = Buffer.allocUnsafe(bytesOf(tokens))
  putTokens(bytes, 0, tokens)
  return bytes
}

const bytesOf = (tokens: readonly Pick<Token, 'piece'>[]) => {
  let length = 0
  for (const { piece } of tokens) length += tokenHeaderBytes + piece.length
  return length
}

function putTokens(bytes: Buffer, from: number, tokens: readonly Pick<Token, 'id' | 'piece'>[]): void {
  let at = from
  for (const { id, piece } of tokens) {
    bytes.writeUInt32BE(id, at)
    bytes.writeUInt16BE(piece.length, at + 4)
    piece.copy(bytes, at + tokenHeaderBytes)
    at += tokenHeaderBytes + piece.length
  }
}
