import { hash } from 'node:crypto'

/** Bytes of a message: with its padding it fits into one block of SHA-256. */
export const shortHmacBytesMax = 55

const blockBytes = 64

/**
 * HMAC-SHA256 of short messages under one key (RFC 2104): two plain hashes over key blocks that are made once for all of them, which costs a
 * fraction of Node's `createHmac`, whose two objects a message are the most of it. Which answers are checked is decided so, for every answer.
 */
export class ShortHmac {
  readonly #inner = Buffer.alloc(blockBytes + shortHmacBytesMax, 0x36)
  readonly #outer = Buffer.alloc(blockBytes + 32, 0x5c)

  /** Of 32 to 64 bytes. */
  constructor(key: Buffer) {
    if (key.length < 32 || key.length > blockBytes) throw new TypeError('a key has 32 to 64 bytes')
    for (const [at, byte] of key.entries()) {
      this.#inner[at] = byte ^ 0x36
      this.#outer[at] = byte ^ 0x5c
    }
  }

  /** Of the parts, one after the other; together at most {@link shortHmacBytesMax} bytes. */
  digest(...parts: readonly Uint8Array[]): Buffer {
    let end = blockBytes
    for (const part of parts) {
      if (end + part.length > this.#inner.length) throw new TypeError('the message is too long')
      this.#inner.set(part, end)
      end += part.length
    }
    this.#outer.set(hash('sha256', this.#inner.subarray(0, end), 'buffer'), blockBytes)
    return hash('sha256', this.#outer, 'buffer')
  }
}
