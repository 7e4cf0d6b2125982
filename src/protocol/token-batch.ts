import type { Token } from './token.ts'

/** `u32be id ‖ u16be length` before each piece. */
const headBytes = 6
/** What a length of two bytes can say. */
export const pieceBytesMax = 0xffff
/** In the place of a token's id where something is no text (a delta with tool calls); no token has it. */
export const noTextId = 0xffff_fffe

/**
 * Tokens as they travel, one behind the other: `u32be id ‖ u16be length ‖ piece`. The pool relays, counts and hashes them in this form; an
 * object for each is made only for those who ask for one.
 */
export class TokenBatch implements Iterable<Token> {
  readonly bytes: Buffer
  readonly length: number
  /** The same tokens, where they came with log probabilities. */
  readonly detailed: readonly Token[] | undefined

  private constructor(bytes: Buffer, length: number, detailed?: readonly Token[]) {
    this.bytes = bytes
    this.length = length
    this.detailed = detailed
  }

  /** Tokens that fill `bytes` exactly, at most so many; undefined when these bytes are something else. A view, not a copy. */
  static read(bytes: Buffer, tokensMax: number): TokenBatch | undefined {
    let tokens = 0
    for (let at = 0; at < bytes.length; tokens++) {
      if (bytes.length - at < headBytes || tokens === tokensMax || idAt(bytes, at) === noTextId) return undefined
      at += headBytes + lengthAt(bytes, at)
      if (at > bytes.length) return undefined
    }
    return new TokenBatch(bytes, tokens)
  }

  /** Throws a RangeError on a piece of more than {@link pieceBytesMax}. */
  static of(tokens: readonly Token[]): TokenBatch {
    const bytes = Buffer.allocUnsafe(bytesOf(tokens))
    putTokens(bytes, 0, tokens)
    return new TokenBatch(bytes, tokens.length, tokens.some(hasDetails) ? tokens : undefined)
  }

  /** Bytes of text in it. */
  get pieceBytes(): number {
    return this.bytes.length - headBytes * this.length
  }

  /** The first `tokens` of it. */
  first(tokens: number): TokenBatch {
    if (tokens >= this.length) return this
    let end = 0
    for (let n = 0; n < tokens; n++) end += headBytes + lengthAt(this.bytes, end)
    return new TokenBatch(this.bytes.subarray(0, end), tokens, this.detailed?.slice(0, tokens))
  }

  /** Its text: all pieces joined. */
  text(): Buffer {
    const { bytes } = this
    const text = Buffer.allocUnsafe(this.pieceBytes)
    let to = 0
    for (let at = 0; at < bytes.length; ) {
      const start = at + headBytes
      at = start + lengthAt(bytes, at)
      for (let n = start; n < at; n++) text[to++] = bytes[n] as number
    }
    return text
  }

  /** Its ids, behind those that are in `list`. */
  pushIds(list: number[]): void {
    const { bytes } = this
    for (let at = 0; at < bytes.length; at += headBytes + lengthAt(bytes, at)) list.push(idAt(bytes, at))
  }

  /** Pieces are views of {@link bytes}: copy what is kept for long. */
  [Symbol.iterator](): Iterator<Token> {
    return (this.detailed ?? this.#plain())[Symbol.iterator]()
  }

  *#plain(): Generator<Token> {
    const { bytes } = this
    for (let at = 0; at < bytes.length; ) {
      const [id, start] = [idAt(bytes, at), at + headBytes]
      at = start + lengthAt(bytes, at)
      yield { id, piece: bytes.subarray(start, at) }
    }
  }
}

/** What {@link TokenBatch.read} reads, at `from` of `bytes`. Throws a RangeError on a piece of more than {@link pieceBytesMax}. */
export function putTokens(bytes: Buffer, from: number, tokens: readonly Pick<Token, 'id' | 'piece'>[]): void {
  let at = from
  for (const { id, piece } of tokens) {
    at = bytes.writeUInt32BE(id, at)
    at = bytes.writeUInt16BE(piece.length, at)
    at += piece.copy(bytes, at)
  }
}

/** Bytes that {@link putTokens} writes. */
export function bytesOf(tokens: readonly Pick<Token, 'piece'>[]): number {
  let length = 0
  for (const { piece } of tokens) length += headBytes + piece.length
  return length
}

const hasDetails = (token: Token) => token.logprob !== undefined

const lengthAt = (bytes: Buffer, at: number) => ((bytes[at + 4] as number) << 8) | (bytes[at + 5] as number)

const idAt = (bytes: Buffer, at: number) =>
  (((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)) >>>
  0
