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

/** The first cells of a set, or some that follow them. */
export class Cells {
  readonly high: Uint32Array
  readonly low: Uint32Array
  readonly check: Uint32Array
  readonly count: Int32Array

  constructor(count: number) {
    this.high = new Uint32Array(count)
    this.low = new Uint32Array(count)
    this.check = new Uint32Array(count)
    this.count = new Int32Array(count)
  }

  get length(): number {
    return this.count.length
  }

  /** Adds (`by` 1) or takes away (−1) one id at one cell. */
  toggle(at: number, high: number, low: number, check: number, by: number): void {
    this.high[at] = (this.high[at] as number) ^ high
    this.low[at] = (this.low[at] as number) ^ low
    this.check[at] = (this.check[at] as number) ^ check
    this.count[at] = (this.count[at] as number) + by
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

  static fromBytes(bytes: Buffer): Cells {
    const cells = new Cells(Math.floor(bytes.length / cellBytes))
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

/** The cells one id is in, one after the other: both sides draw the same ones, from the id itself. */
class Places {
  /** Where the id is next. */
  cell = 0
  // xoroshiro64* of David Blackman and Sebastiano Vigna
  #a: number
  #b: number

  constructor(high: number, low: number) {
    this.#a = high | 0
    this.#b = low | 1
  }

  advance(): void {
    const drawn = Math.imul(this.#a, 0x9e3779bb) >>> 0
    const b = this.#b ^ this.#a
    this.#a = ((this.#a << 26) | (this.#a >>> 6)) ^ b ^ (b << 9)
    this.#b = (b << 13) | (b >>> 19)
    this.cell += Math.ceil((this.cell + 1.5) * (1 / Math.sqrt((drawn + 1) / 2 ** 32) - 1))
  }

  resume(cell: number, a: number, b: number): void {
    this.cell = cell
    this.#a = a
    this.#b = b
  }

  /** What {@link resume} takes. */
  get state(): readonly [number, number] {
    return [this.#a, this.#b]
  }
}

/** All cells of a set, in their order, as many as are asked for. */
export class Sketch {
  /** Cells that were given so far. */
  given = 0
  readonly #ids: Ids
  readonly #next: Float64Array
  readonly #a: Int32Array
  readonly #b: Int32Array

  constructor(ids: Ids) {
    this.#ids = ids
    const n = ids.length / 2
    this.#next = new Float64Array(n)
    this.#a = new Int32Array(n)
    this.#b = new Int32Array(n)
    for (let at = 0; at < n; at++) {
      this.#a[at] = (ids[2 * at] as number) | 0
      this.#b[at] = (ids[2 * at + 1] as number) | 1
    }
  }

  /** The cells that follow. */
  take(count: number): Cells {
    const cells = new Cells(count)
    const end = this.given + count
    const places = new Places(0, 0)
    for (let at = 0; at < this.#next.length; at++) {
      const next = this.#next[at] as number
      if (next >= end) continue
      const [high, low] = [this.#ids[2 * at] as number, this.#ids[2 * at + 1] as number]
      const check = checkOf(high, low)
      places.resume(next, this.#a[at] as number, this.#b[at] as number)
      for (; places.cell < end; places.advance()) cells.toggle(places.cell - this.given, high, low, check, 1)
      this.#next[at] = places.cell
      const [a, b] = places.state
      this.#a[at] = a
      this.#b[at] = b
    }
    this.given = end
    return cells
  }
}

/** One after the other. */
export function concatCells(parts: readonly Cells[]): Cells {
  const cells = new Cells(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    for (const name of ['high', 'low', 'check', 'count'] as const) cells[name].set(part[name], at)
    at += part.length
  }
  return cells
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
    const check = checkOf(high, low)
    for (const place = new Places(high, low); place.cell < size; place.advance()) {
      cells.toggle(place.cell, high, low, check, -side)
      look(place.cell)
    }
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
