import { hash } from 'node:crypto'

/**
 * A rateless sketch of a set of 64-bit ids, after Lei Yang, Yossi Gilad and Mohammad Alizadeh, "Practical Rateless Set Reconciliation"
 * (SIGCOMM 2024). Each id is added to an endless row of cells, to cell 0 always and to later ones ever more rarely: to cell i with
 * probability 1 / (1 + i/2). Two pools subtract the cells of their sets; what both have cancels out, and once about 1.4 cells for each
 * difference were compared, the differences can be read off: a cell that holds one id is found by its check, and that id is taken
 * out of all others. Nobody has to guess the size of the difference, and the bytes do not depend on the size of the sets.
 *
 * A cell on the wire: id (8 bytes), check (4), count modulo 2^16 (2); big-endian.
 */
export const cellBytes = 14

/** Ids as pairs of 32-bit halves. */
export type Ids = Uint32Array

/** Ids of facts between two pools on one day: nobody who lacks the key can prepare facts whose ids collide. */
export function shortIds(hashes: readonly Buffer[], key: Buffer): Ids {
  const ids = new Uint32Array(hashes.length * 2)
  const input = Buffer.alloc(key.length + 32)
  key.copy(input)
  for (const [n, fact] of hashes.entries()) {
    fact.copy(input, key.length)
    const digest = hash('sha256', input, 'buffer')
    ids[2 * n] = digest.readUInt32BE(0)
    ids[2 * n + 1] = digest.readUInt32BE(4)
  }
  return ids
}

/** One 32-bit word to another, every bit of the one moving half of the other (the finaliser of MurmurHash3). */
function mix(word: number): number {
  let h = word
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** Tells a cell with one id from a heap of several. */
const checkOf = (high: number, low: number) => mix(high ^ Math.imul(mix(low ^ 0x9e3779b9), 0x27d4eb2f))

/** The cells `from` … `from + count - 1` of a set. */
export class Cells {
  readonly from: number
  readonly high: Uint32Array
  readonly low: Uint32Array
  readonly check: Uint32Array
  readonly count: Int32Array

  constructor(count: number, from = 0) {
    this.from = from
    this.high = new Uint32Array(count)
    this.low = new Uint32Array(count)
    this.check = new Uint32Array(count)
    this.count = new Int32Array(count)
  }

  get length(): number {
    return this.count.length
  }

  addAll(ids: Ids): this {
    for (let n = 0; n < ids.length; n += 2) this.toggle(ids[n] as number, ids[n + 1] as number, 1)
    return this
  }

  /** Adds (`by` 1) or takes away (−1) one id; `onCell` hears of each cell it is in. */
  toggle(high: number, low: number, by: number, onCell?: (cell: number) => void): void {
    const check = checkOf(high, low)
    const end = this.from + this.length
    // xoroshiro64* of Blackman and Vigna, seeded with the id itself: both sides draw the same cells
    let a = high | 0
    let b = low | 1
    for (let cell = 0; cell < end; ) {
      if (cell >= this.from) {
        const at = cell - this.from
        this.high[at] = (this.high[at] as number) ^ high
        this.low[at] = (this.low[at] as number) ^ low
        this.check[at] = (this.check[at] as number) ^ check
        this.count[at] = (this.count[at] as number) + by
        onCell?.(at)
      }
      const drawn = Math.imul(a, 0x9e3779bb) >>> 0
      b ^= a
      a = ((a << 26) | (a >>> 6)) ^ b ^ (b << 9)
      b = (b << 13) | (b >>> 19)
      cell += Math.ceil((cell + 1.5) * (1 / Math.sqrt((drawn + 1) / 2 ** 32) - 1))
    }
  }

  toBytes(): Buffer {
    const bytes = Buffer.alloc(this.length * cellBytes)
    for (let at = 0; at < this.length; at++) {
      const place = at * cellBytes
      bytes.writeUInt32BE(this.high[at] as number, place)
      bytes.writeUInt32BE(this.low[at] as number, place + 4)
      bytes.writeUInt32BE(this.check[at] as number, place + 8)
      bytes.writeUInt16BE((this.count[at] as number) & 0xffff, place + 12)
    }
    return bytes
  }

  static fromBytes(bytes: Buffer, from = 0): Cells {
    const cells = new Cells(Math.floor(bytes.length / cellBytes), from)
    for (let at = 0; at < cells.length; at++) {
      const place = at * cellBytes
      cells.high[at] = bytes.readUInt32BE(place)
      cells.low[at] = bytes.readUInt32BE(place + 4)
      cells.check[at] = bytes.readUInt32BE(place + 8)
      cells.count[at] = bytes.readUInt16BE(place + 12)
    }
    return cells
  }
}

export interface Difference {
  /** Ids that only the first set has, and only the second. */
  readonly first: readonly (readonly [number, number])[]
  readonly second: readonly (readonly [number, number])[]
}

/** Reads off the difference of two sets from as many of their first cells; undefined: more cells are needed. */
export function decodeDifference(first: Cells, second: Cells): Difference | undefined {
  const size = Math.min(first.length, second.length)
  const cells = new Cells(size)
  for (let at = 0; at < size; at++) {
    cells.high[at] = (first.high[at] as number) ^ (second.high[at] as number)
    cells.low[at] = (first.low[at] as number) ^ (second.low[at] as number)
    cells.check[at] = (first.check[at] as number) ^ (second.check[at] as number)
    cells.count[at] = (first.count[at] as number) - (second.count[at] as number)
  }
  const found = { first: [] as [number, number][], second: [] as [number, number][] }
  const ones: number[] = []
  const look = (at: number) => {
    if (sideOf(cells, at) !== 0) ones.push(at)
  }
  for (let at = 0; at < size; at++) look(at)
  // forged cells could be peeled for ever; a true sketch never holds more ids than cells
  for (let left = size; ones.length > 0; ) {
    const at = ones.pop() as number
    const side = sideOf(cells, at)
    if (side === 0) continue
    if (left-- === 0) return undefined
    const [high, low] = [cells.high[at] as number, cells.low[at] as number]
    found[side === 1 ? 'first' : 'second'].push([high, low])
    cells.toggle(high, low, -side, look)
  }
  return isEmpty(cells) ? found : undefined
}

/** 1 or −1 where a cell holds exactly one id of the first or the second set, else 0. Counts are known modulo 2^16. */
function sideOf(cells: Cells, at: number): -1 | 0 | 1 {
  const count = ((cells.count[at] as number) << 16) >> 16
  if (count !== 1 && count !== -1) return 0
  return checkOf(cells.high[at] as number, cells.low[at] as number) === cells.check[at] ? count : 0
}

function isEmpty({ high, low, check, count }: Cells): boolean {
  if (count.length === 0) return false
  for (let at = 0; at < count.length; at++)
    if (high[at] !== 0 || low[at] !== 0 || check[at] !== 0 || ((count[at] as number) & 0xffff) !== 0) return false
  return true
}
