import type { CharRanges, GrammarNode, GrammarReader } from './grammar-nodes.ts'

/** What is still to come in one reading of the text so far, as llama.cpp knows it: by place, not by what it says. */
interface Rest {
  readonly id: number
  readonly head: GrammarNode
  readonly tail: Rest | undefined
}

/** Readings by the piece they go through next ({@link GrammarNode.same}). */
type ByHead = Map<number, Set<Rest>>

/** Bits of {@link first}: the 128 ASCII characters, and one for all others. */
const otherChars = 1n << 128n

/** The grammar is more than this engine would follow. */
export class TooWide extends Error {}

/**
 * In how many ways at once a text may have to be read: llama.cpp keeps a stack per reading and holds every candidate
 * token against every stack, while all other requests wait for their turn. A recursive rule may double the stacks
 * with each bracket, so what counts is not how large a grammar is.
 *
 * Readings that go through the same piece together are followed through it once: `n` readings in a piece of width w
 * are at most n × w. A piece that can contain itself with n > 1 has no bound. Only readings that overlap in different
 * pieces are followed character by character. Values of JSON end where nothing can continue them, except numbers,
 * so that what is inside a piece and what is behind it hardly ever count together; the limit leaves room for that.
 */
export class GrammarWidth {
  readonly #grammar: GrammarReader
  readonly #widthMax: number
  readonly #rests = new Map<string, Rest>()
  /** By {@link GrammarNode.same}. */
  readonly #firsts = new Map<number, { chars: bigint; empty: boolean } | undefined>()
  /** Per piece: the readings within it alone, and who has how many readings of it at once. */
  readonly #widths = new Map<number, number>()
  readonly #users = new Map<number, Map<number, number>>()
  readonly #unread: GrammarNode[] = []
  #steps: number

  constructor(grammar: GrammarReader, widthMax: number, stepsMax: number) {
    this.#grammar = grammar
    this.#widthMax = widthMax
    this.#steps = stepsMax
  }

  /** The width of a rule. Throws {@link TooWide} when it is above the limit, or takes too long to find out. */
  of(rule: string): number {
    const start = this.#grammar.make({ kind: 'rule', name: rule })
    this.#meet(start)
    for (let piece = this.#unread.pop(); piece; piece = this.#unread.pop()) this.#explore(piece)
    return this.#settle(start)
  }

  #meet(piece: GrammarNode): void {
    if (this.#widths.has(piece.same)) return
    this.#widths.set(piece.same, 1)
    this.#unread.push(piece)
  }

  #uses(user: GrammarNode, piece: GrammarNode, readings: number): void {
    if (piece.kind === 'chars') return
    this.#meet(piece)
    const users = this.#users.get(piece.same) ?? new Map<number, number>()
    this.#users.set(piece.same, users)
    users.set(user.same, Math.max(readings, users.get(user.same) ?? 0))
  }

  /** All readings within `part`, the end of some reading of `whole`, are followed with those of `whole`. */
  #cover(part: GrammarNode, whole: GrammarNode): void {
    if (this.#widths.has(part.same)) return
    this.#widths.set(part.same, 1)
    this.#uses(part, whole, 1)
  }

  /** Follows all readings of one piece, from its beginning to its end. */
  #explore(piece: GrammarNode): void {
    const seen = new Set<string | number>()
    const waiting = [this.#opened(piece, undefined)]
    for (let readings = waiting.pop(); readings; readings = waiting.pop()) {
      const [only] = readings
      if (readings.size === 1) this.#alone(piece, only, seen)
      else if (readings.size > 1) {
        const key = [...readings]
          .map(({ id }) => id)
          .sort((a, b) => a - b)
          .join()
        this.#spend(readings.size)
        if (!seen.has(key)) waiting.push(...this.#together(piece, readings))
        seen.add(key)
      }
    }
  }

  /** A single reading goes from piece to piece and stays one, whatever happens within them. */
  #alone(piece: GrammarNode, from: Rest | undefined, seen: Set<string | number>): void {
    for (let rest = from; rest && !seen.has(rest.id); rest = rest.tail) {
      this.#spend(1)
      seen.add(rest.id)
      this.#uses(piece, rest.head, 1)
    }
  }

  /** Several readings at once: where they are one step, or one common piece, later. */
  #together(piece: GrammarNode, readings: ReadonlySet<Rest>): Set<Rest>[] {
    const byHead = this.#untangled(piece, readings)
    let width = 0
    for (const alike of byHead.values()) width += alike.size
    if (width > this.#widthMax) throw new TooWide()
    this.#widths.set(piece.same, Math.max(width, this.#widths.get(piece.same) ?? 1))
    const next: Set<Rest>[] = []
    for (const alike of byHead.values()) {
      const [one] = alike
      if (!one || one.head.kind === 'chars') continue
      this.#uses(piece, one.head, alike.size)
      next.push(tailsOf(alike))
    }
    return [...next, ...this.#afterChars(byHead)]
  }

  /** By what comes next, with every piece opened that may be empty or may begin as another one does. */
  #untangled(piece: GrammarNode, readings: ReadonlySet<Rest>): ByHead {
    const byHead: ByHead = new Map()
    const pieces = new Map<number, GrammarNode>()
    let [once, twice] = [0n, 0n]
    const put = (rest: Rest) => {
      this.#spend(1)
      const { head } = rest
      const alike = byHead.get(head.same)
      if (alike) alike.add(rest)
      else {
        byHead.set(head.same, new Set([rest]))
        if (head.kind === 'chars') [once, twice] = joined(once, twice, this.#first(head).chars)
        else pieces.set(head.same, head)
      }
    }
    for (const one of readings) put(one)
    for (let some = this.#tangled(pieces, once, twice); some.length > 0; some = this.#tangled(pieces, once, twice)) {
      const opened = some.flatMap(({ same }) => [...(byHead.get(same) ?? [])])
      for (const { same } of some) {
        byHead.delete(same)
        pieces.delete(same)
      }
      for (const { head, tail } of opened) {
        if (!tail) this.#cover(head, piece)
        for (const one of this.#opened(head, tail)) put(one)
      }
    }
    return byHead
  }

  /** The pieces that must be opened; `once` and `twice` are characters that stand alone there. */
  #tangled(pieces: ReadonlyMap<number, GrammarNode>, once: bigint, twice: bigint): GrammarNode[] {
    for (const piece of pieces.values()) {
      this.#spend(1)
      ;[once, twice] = joined(once, twice, this.#first(piece).chars)
    }
    return [...pieces.values()].filter((piece) => {
      const { chars, empty } = this.#first(piece)
      return empty || (chars & twice) !== 0n
    })
  }

  /** The readings after each character that tells some of them apart. */
  #afterChars(byHead: ByHead): Set<Rest>[] {
    const single = new Map<number, ReadonlySet<Rest>>()
    const several: { ranges: CharRanges; alike: ReadonlySet<Rest> }[] = []
    for (const alike of byHead.values()) {
      const [one] = alike
      if (one?.head.kind !== 'chars') continue
      const { ranges } = one.head
      const [[from, to] = [0, -1], ...more] = ranges
      if (from === to && more.length === 0) single.set(from, alike)
      else several.push({ ranges, alike })
    }
    const inSeveral = several.flatMap(({ ranges }) => ranges.flatMap(([from, to]) => [from, to + 1]))
    const edges = new Set([...single.keys(), ...inSeveral])
    this.#spend(edges.size * several.length)
    return [...edges].map((code) => {
      const fitting = several.filter(({ ranges }) => ranges.some(([from, to]) => from <= code && code <= to))
      return tailsOf([...(single.get(code) ?? []), ...fitting.flatMap(({ alike }) => [...alike])])
    })
  }

  /** What a piece begins with, each with what follows in and behind the piece. */
  #opened(piece: GrammarNode, tail: Rest | undefined): Set<Rest> {
    switch (piece.kind) {
      case 'chars':
        return present([this.#rest(piece, tail)])
      case 'rule':
        return present([this.#rest(this.#grammar.body(piece.name), tail)])
      case 'sequence':
        return present([piece.parts.reduceRight<Rest | undefined>((rest, part) => this.#rest(part, rest), tail)])
      case 'choice':
        return present(piece.options.map((option) => this.#rest(option, tail)))
      case 'repeat': {
        const { part, min, max } = piece
        const more = max > 1 ? this.#rest(this.#grammar.rest(piece), tail) : tail
        return present([max > 0 ? this.#rest(part, more) : undefined, min === 0 ? tail : undefined])
      }
    }
  }

  #rest(head: GrammarNode, tail: Rest | undefined): Rest | undefined {
    if (head.kind === 'sequence' && head.parts.length === 0) return tail
    const key = `${head.id},${tail?.id ?? ''}`
    const known = this.#rests.get(key)
    if (known) return known
    const rest = { id: this.#rests.size, head, tail }
    this.#rests.set(key, rest)
    return rest
  }

  /** The characters a piece may begin with, and whether it may be empty. */
  #first(piece: GrammarNode): { chars: bigint; empty: boolean } {
    const known = this.#firsts.get(piece.same)
    if (known) return known
    if (this.#firsts.has(piece.same)) throw new TooWide() // it begins with itself
    this.#firsts.set(piece.same, undefined)
    const found = this.#findFirst(piece)
    this.#firsts.set(piece.same, found)
    return found
  }

  #findFirst(piece: GrammarNode): { chars: bigint; empty: boolean } {
    switch (piece.kind) {
      case 'chars':
        return { chars: asciiBits(piece.ranges), empty: false }
      case 'rule':
        return this.#first(this.#grammar.body(piece.name))
      case 'sequence': {
        let chars = 0n
        for (const part of piece.parts) {
          const first = this.#first(part)
          chars |= first.chars
          if (!first.empty) return { chars, empty: false }
        }
        return { chars, empty: true }
      }
      case 'choice': {
        const firsts = piece.options.map((option) => this.#first(option))
        return { chars: firsts.reduce((sum, { chars }) => sum | chars, 0n), empty: firsts.some(({ empty }) => empty) }
      }
      case 'repeat': {
        const { chars, empty } = this.#first(piece.part)
        return { chars, empty: empty || piece.min === 0 }
      }
    }
  }

  /** Carries widths to the pieces that contain them until nothing grows; a piece within itself grows for ever. */
  #settle(start: GrammarNode): number {
    const grown = new Set(this.#widths.keys())
    for (const piece of grown) {
      grown.delete(piece)
      const width = this.#widths.get(piece) ?? 1
      if (width > this.#widthMax) throw new TooWide()
      for (const [user, readings] of this.#users.get(piece) ?? []) {
        this.#spend(1)
        if (readings * width <= (this.#widths.get(user) ?? 1)) continue
        this.#widths.set(user, readings * width)
        grown.add(user)
      }
    }
    return this.#widths.get(start.same) ?? 1
  }

  #spend(steps: number): void {
    this.#steps -= steps
    if (this.#steps < 0) throw new TooWide()
  }
}

/** Characters seen at least once and at least twice, with some more of them. */
const joined = (once: bigint, twice: bigint, more: bigint): [bigint, bigint] => [once | more, twice | (once & more)]

const tailsOf = (rests: Iterable<Rest>) => present([...rests].map(({ tail }) => tail))

function present(rests: Iterable<Rest | undefined>): Set<Rest> {
  const there = new Set<Rest>()
  for (const rest of rests) if (rest) there.add(rest)
  return there
}

function asciiBits(ranges: readonly (readonly [number, number])[]): bigint {
  let bits = 0n
  for (const [from, to] of ranges) {
    const last = Math.min(to, 127)
    if (from <= last) bits |= ((1n << BigInt(last - from + 1)) - 1n) << BigInt(from)
    if (to > 127) bits |= otherChars
  }
  return bits
}
