/** A set of code points, as inclusive ranges. */
export type CharRanges = readonly (readonly [number, number])[]

type Shape =
  | { readonly kind: 'chars'; readonly ranges: CharRanges }
  | { readonly kind: 'rule'; readonly name: string }
  | { readonly kind: 'sequence'; readonly parts: readonly GrammarNode[] }
  | { readonly kind: 'choice'; readonly options: readonly GrammarNode[] }
  | { readonly kind: 'repeat'; readonly part: GrammarNode; readonly min: number; readonly max: number }

/** A piece of a grammar at its place: `id` is the place, `same` is shared by all pieces that read alike. */
export type GrammarNode = Shape & { readonly id: number; readonly same: number }

const codePointMax = 0x10ffff
const token = /\s*(?:"((?:[^"\\]|\\.)*)"|\[(\^?)((?:[^\]\\]|\\.)+)\]|([a-z][\w-]*)|([(|)*?])|\{(\d+)(,?)(\d*)\})/suy

/** Reads the rules that the JSON grammar is written with: the part of GBNF it uses, and nothing else. */
export class GrammarReader {
  readonly #known = new Map<string, number>()
  readonly #left = new Map<number, GrammarNode>()
  readonly #bodies = new Map<string, GrammarNode>()
  /** Elements the repetitions make when llama.cpp writes them out. */
  repeated = 0
  #places = 0
  #text = ''
  #at = 0
  #next: RegExpExecArray | null = null

  constructor(rules: ReadonlyMap<string, string>) {
    for (const [name, body] of rules) this.#bodies.set(name, this.#read(body))
  }

  body(name: string): GrammarNode {
    const body = this.#bodies.get(name)
    if (!body) throw new Error(`no grammar rule ${name}`)
    return body
  }

  make(shape: Shape): GrammarNode {
    const key = keyOf(shape)
    const same = this.#known.get(key) ?? this.#known.size
    this.#known.set(key, same)
    return { ...shape, id: this.#places++, same }
  }

  /** What is left of a repetition after one of its parts, at the place of the whole. */
  rest(of: GrammarNode & { kind: 'repeat' }): GrammarNode {
    const [min, max] = [Math.max(0, of.min - 1), of.max - 1]
    if (min === of.min && max === of.max) return of
    const known = this.#left.get(of.id)
    if (known) return known
    const left = this.make({ kind: 'repeat', part: of.part, min, max })
    this.#left.set(of.id, left)
    return left
  }

  #read(text: string): GrammarNode {
    this.#text = text
    this.#at = 0
    this.#step()
    const node = this.#choice()
    if (this.#next || this.#text.slice(this.#at).trim() !== '') throw new Error(`not a grammar at ${this.#at}`)
    return node
  }

  #step(): void {
    token.lastIndex = this.#at
    this.#next = token.exec(this.#text)
    if (this.#next) this.#at = token.lastIndex
  }

  #choice(): GrammarNode {
    const options = [this.#sequence()]
    while (this.#next?.[5] === '|') {
      this.#step()
      options.push(this.#sequence())
    }
    return options.length === 1 && options[0] ? options[0] : this.make({ kind: 'choice', options })
  }

  #sequence(): GrammarNode {
    const parts: GrammarNode[] = []
    while (this.#next && this.#next[5] !== '|' && this.#next[5] !== ')') {
      const [, literal, not, set, name, sign, least, comma, most] = this.#next
      if (sign === '?' || sign === '*' || least !== undefined) {
        const last = parts.pop()
        if (!last) throw new Error('a repetition of nothing')
        const min = Number(least ?? 0)
        const max =
          sign === '?' ? 1 : sign === '*' || (comma && !most) ? Number.POSITIVE_INFINITY : Number(most || least)
        this.repeated += Number.isFinite(max) ? max : min
        parts.push(this.make({ kind: 'repeat', part: last, min, max }))
      } else if (literal !== undefined) parts.push(...this.#literal(literal))
      else if (set !== undefined) parts.push(this.make({ kind: 'chars', ranges: rangesOf(set, not === '^') }))
      else if (name !== undefined) parts.push(this.make({ kind: 'rule', name }))
      else {
        this.#step()
        parts.push(this.#choice())
        if (this.#next?.[5] !== ')') throw new Error('a group without an end')
      }
      this.#step()
    }
    return parts.length === 1 && parts[0] ? parts[0] : this.make({ kind: 'sequence', parts })
  }

  #literal(text: string): GrammarNode[] {
    return codePoints(text).map((code) => this.make({ kind: 'chars', ranges: [[code, code]] }))
  }
}

function keyOf(shape: Shape): string {
  switch (shape.kind) {
    case 'chars':
      return `c${shape.ranges.join(';')}`
    case 'rule':
      return `r${shape.name}`
    case 'sequence':
      return `s${shape.parts.map(({ same }) => same).join()}`
    case 'choice':
      return `o${shape.options.map(({ same }) => same).join()}`
    case 'repeat':
      return `x${shape.part.same},${shape.min},${shape.max}`
  }
}

/** Code points of a literal or a set; `\x41` and `\"` stand for one. */
function codePoints(text: string): number[] {
  const one = /\\x([0-9A-Fa-f]{2})|\\?(.)/gsu
  return [...text.matchAll(one)].map(([, hex, char]) =>
    hex === undefined ? (char?.codePointAt(0) ?? 0) : Number.parseInt(hex, 16),
  )
}

function rangesOf(set: string, negated: boolean): CharRanges {
  const ranges: [number, number][] = []
  const one = /(\\x[0-9A-Fa-f]{2}|\\?.)(?:-(\\x[0-9A-Fa-f]{2}|[^\]]))?/gsu
  for (const [, from = '', to = from] of set.matchAll(one)) {
    ranges.push([codePoints(from)[0] ?? 0, codePoints(to)[0] ?? 0])
  }
  if (!negated) return ranges
  const rest: [number, number][] = []
  let start = 0
  for (const [from, to] of ranges.sort(([a], [b]) => a - b)) {
    if (from > start) rest.push([start, from - 1])
    start = Math.max(start, to + 1)
  }
  if (start <= codePointMax) rest.push([start, codePointMax])
  return rest
}
