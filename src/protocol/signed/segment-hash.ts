import { createHash, type Hash } from 'node:crypto'
import { canonicalize, sha256 } from '#crypto'
import { noTextId, type TokenBatch } from '../token-batch.ts'

const tag = Buffer.from('lichen/segment/1\n')
/** What is no token stands there by its sha256. */
const digestBytes = 32
/** Room for the tag and some sixty tokens; what grows beyond the second goes into a hash object. */
const roomBytes = 1_024
const roomBytesMax = 16_384

/**
 * sha256 over what a worker sent in one segment, in order, as it travelled: `"lichen/segment/1\n"`, then for each piece
 * `u32be id ‖ u16be length ‖ bytes`. Pool and worker make it apart and must come to the same. How pieces were put into messages makes no
 * difference.
 */
export class SegmentHash {
  #pieces = 0
  /** Not hashed yet. */
  #room = Buffer.allocUnsafe(roomBytes)
  #used: number
  #hash: Hash | undefined

  constructor() {
    this.#used = tag.copy(this.#room)
  }

  /** Pieces so far. */
  get pieces(): number {
    return this.#pieces
  }

  add({ bytes, length }: Pick<TokenBatch, 'bytes' | 'length'>): void {
    this.#pieces += length
    this.#enter(bytes)
  }

  /** Throws a TypeError on what canonical JSON cannot say. */
  addDelta(delta: object): void {
    this.#addOther(noTextId, canonicalize(delta))
  }

  /** An embedding: `values` are f32 little-endian, as they travel. */
  addVector(inputIndex: number, values: Buffer): void {
    this.#addOther(inputIndex, values)
  }

  /** One that grows apart from here on. */
  clone(): SegmentHash {
    const other = new SegmentHash()
    other.#pieces = this.#pieces
    other.#room = Buffer.from(this.#room)
    other.#used = this.#used
    other.#hash = this.#hash?.copy()
    return other
  }

  /** 32 bytes, of what was added so far. */
  digest(): Buffer {
    const rest = this.#room.subarray(0, this.#used)
    return this.#hash ? this.#hash.copy().update(rest).digest() : sha256(rest)
  }

  #addOther(id: number, content: Buffer): void {
    const head = Buffer.allocUnsafe(6)
    head.writeUInt32BE(id, 0)
    head.writeUInt16BE(digestBytes, 4)
    this.#pieces += 1
    this.#enter(head)
    this.#enter(sha256(content))
  }

  #enter(bytes: Buffer): void {
    if (this.#used + bytes.length > this.#room.length && !this.#grow(bytes.length)) {
      this.#hash ??= createHash('sha256')
      this.#hash.update(this.#room.subarray(0, this.#used)).update(bytes)
      this.#used = 0
    } else this.#used += bytes.copy(this.#room, this.#used)
  }

  /** False when that would be more than is kept. */
  #grow(bytes: number): boolean {
    let length = this.#room.length
    while (length < this.#used + bytes) length *= 2
    if (length > roomBytesMax) return false
    const room = Buffer.allocUnsafe(length)
    this.#room.copy(room, 0, 0, this.#used)
    this.#room = room
    return true
  }
}
