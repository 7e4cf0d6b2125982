import { PoolError } from '#protocol'
import { GrammarReader } from './grammar-nodes.ts'
import { GrammarWidth, TooWide } from './grammar-width.ts'
import { integerRange } from './integer-range.ts'
import { basicNeeds, basicRules, stringFormats } from './json-grammar-rules.ts'
import { engineLimits } from './limits.ts'

type Schema = Readonly<Record<string, unknown>>

/** Keywords that say nothing about which values are valid. */
const annotations = new Set(
  '$schema $id $comment $defs definitions title description default examples deprecated readOnly writeOnly discriminator'.split(
    ' ',
  ),
)
/** Keywords read for each kind of value; any other keyword is refused, never ignored. */
const keywords: Readonly<Record<string, readonly string[]>> = {
  object: ['properties', 'required', 'additionalProperties'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength', 'format'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  number: ['minimum'],
  boolean: [],
  null: [],
}
const kinds = Object.keys(keywords)

/** A JSON text as a GBNF literal. */
const literal = (json: string) => `"${json.replace(/[\\"]/g, '\\$&')}"`

/** Groups may nest so deep; texts that agree for longer stand side by side. */
const groupsMax = 64

/** Any of some texts, common beginnings written once: how many readings there are depends on where they differ. */
function oneOf(texts: readonly string[], depth: number): string {
  const byFirst = Map.groupBy(texts, (text) => [...text.slice(0, 2)][0] ?? '')
  if (texts.length === 1 || depth === groupsMax) return texts.map(literal).join(' | ')
  const branches = [...byFirst].map(([first, some]) => {
    if (some.length === 1 || first === '') return literal(some[0] ?? '')
    const common = commonStart(some)
    return `${literal(common)} (${oneOf(
      some.map((text) => text.slice(common.length)),
      depth + 1,
    )})`
  })
  return branches.join(' | ')
}

/** The longest beginning that all texts share; it ends between characters. */
function commonStart(texts: readonly string[]): string {
  const [one = '', ...others] = texts
  let length = 0
  for (const char of one) {
    if (!others.every((text) => text.startsWith(char, length))) break
    length += char.length
  }
  return one.slice(0, length)
}

const isSchema = (value: unknown): value is Schema =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The rules of one grammar while it grows. */
class GrammarWriter {
  readonly #root: unknown
  readonly #waysMax: number
  readonly #rules = new Map<string, string>()
  readonly #references = new Map<string, string>()
  #names = 0

  constructor(root: unknown, waysMax: number) {
    this.#root = root
    this.#waysMax = waysMax
  }

  write(): string {
    const start = this.#value(this.#root, '')
    const text = [`root ::= ${start}`, ...[...this.#rules].map(([name, body]) => `${name} ::= ${body}`)].join('\n')
    if (text.length > engineLimits.grammarCharsMax) throw refuse('', 'is too large for this engine')
    this.#checkCost(start)
    return text
  }

  /** Small schemas can make grammars that cost any amount of time, and nobody else is answered meanwhile. */
  #checkCost(start: string): void {
    const { grammarRepeatsSumMax, grammarStepsMax } = engineLimits
    const grammar = new GrammarReader(this.#rules)
    if (grammar.repeated > grammarRepeatsSumMax) throw refuse('', 'counts too many items and characters in all')
    try {
      new GrammarWidth(grammar, this.#waysMax, grammarStepsMax).of(start)
    } catch (error) {
      if (!(error instanceof TooWide)) throw error
      throw refuse('', 'lets too many of its alternatives begin alike (let them differ in their first member)')
    }
  }

  /** The name of a rule for any value the schema allows. */
  #value(schema: unknown, at: string): string {
    if (schema === true) return this.#basic('value')
    if (!isSchema(schema)) throw refuse(at, schema === false ? 'allows nothing' : 'is not a schema')
    const rest = Object.keys(schema).filter((key) => !annotations.has(key))
    if (rest.length === 0) return this.#basic('value')
    for (const only of ['$ref', 'const', 'enum', 'anyOf', 'oneOf', 'allOf'] as const) {
      if (!(only in schema)) continue
      const odd = rest.find((key) => key !== only && !(key === 'type' && (only === 'enum' || only === 'const')))
      if (odd !== undefined) throw refuse(at, `combines ${only} with ${odd}`)
      return this.#combined(only, schema, at)
    }
    return this.#typed(schema, rest, at)
  }

  #combined(by: '$ref' | 'const' | 'enum' | 'anyOf' | 'oneOf' | 'allOf', schema: Schema, at: string): string {
    const inside = schema[by]
    const here = `${at}/${by}`
    if (by === '$ref') return this.#reference(inside, here)
    if (by === 'const') return this.#literals([inside], schema, here)
    if (!Array.isArray(inside) || inside.length === 0) throw refuse(here, 'is an empty list')
    if (by === 'enum') return this.#literals(inside, schema, here)
    if (by === 'allOf' && inside.length > 1) throw refuse(here, 'has several members')
    return this.#rule(inside.map((one, index) => this.#value(one, `${here}/${index}`)).join(' | '))
  }

  /** A rule is named before it is written, so that a schema may contain itself. */
  #reference(pointer: unknown, at: string): string {
    if (typeof pointer !== 'string' || !/^#(\/|$)/.test(pointer)) throw refuse(at, 'points outside the schema')
    const known = this.#references.get(pointer)
    if (known) return known
    let target = this.#root
    for (const step of pointer.split('/').slice(1)) {
      const key = step.replaceAll('~1', '/').replaceAll('~0', '~')
      target = isSchema(target) && Object.hasOwn(target, key) ? target[key] : undefined
    }
    if (target === undefined) throw refuse(at, 'points at nothing')
    const name = this.#name()
    this.#references.set(pointer, name)
    const body = this.#value(target, pointer.slice(1))
    if (body === name) throw refuse(at, 'points at itself')
    this.#rules.set(name, body)
    return name
  }

  #literals(values: readonly unknown[], schema: Schema, at: string): string {
    const types = schema.type === undefined ? kinds : [schema.type].flat()
    const allowed = values.filter((value) => types.some((type) => isOfType(value, type)))
    if (allowed.length === 0) throw refuse(at, 'allows nothing of its own type')
    if (allowed.length > engineLimits.grammarChoicesMax)
      throw refuse(at, `has more than ${engineLimits.grammarChoicesMax} values`)
    return this.#rule(oneOf([...new Set(allowed.map((value) => JSON.stringify(value)))], 0))
  }

  #typed(schema: Schema, rest: readonly string[], at: string): string {
    const types = schema.type === undefined ? this.#impliedTypes(rest) : [schema.type].flat()
    if (types.length === 0) throw refuse(at, 'has no type')
    const understood = types.flatMap((type) => keywords[String(type)] ?? [])
    const odd = rest.find((key) => key !== 'type' && !understood.includes(key))
    if (odd !== undefined) throw refuse(`${at}/${odd}`, 'cannot be kept by this engine')
    return this.#rule(types.map((type) => this.#ofType(type, schema, at)).join(' | '))
  }

  /** Without `type`, a schema that speaks of members means objects, and so on (what its author meant). */
  #impliedTypes(rest: readonly string[]): readonly string[] {
    return ['object', 'array', 'string'].filter((type) => rest.some((key) => keywords[type]?.includes(key)))
  }

  #ofType(type: unknown, schema: Schema, at: string): string {
    switch (type) {
      case 'object':
        return this.#object(schema, at)
      case 'array':
        return this.#array(schema, at)
      case 'string':
        return this.#string(schema, at)
      case 'integer':
        return this.#integer(schema, at)
      case 'number':
        if (schema.minimum === undefined) return this.#basic('number')
        if (schema.minimum === 0) return this.#basic('positive')
        throw refuse(`${at}/minimum`, 'of a number can only be 0 in this engine')
      case 'boolean':
      case 'null':
        return this.#basic(type)
      default:
        throw refuse(`${at}/type`, 'is no JSON type')
    }
  }

  /** Members in the order of `properties`; those not required may be left out. */
  #object(schema: Schema, at: string): string {
    const { properties = {}, required = [], additionalProperties: more } = schema
    if (!isSchema(properties)) throw refuse(`${at}/properties`, 'is not an object')
    if (!Array.isArray(required)) throw refuse(`${at}/required`, 'is not a list')
    const named = Object.entries(properties)
    if (named.length === 0 && required.length === 0) return this.#dictionary(more, at)
    const unnamed = required.filter((name) => !Object.hasOwn(properties, String(name)))
    if (unnamed.length > 0 && more === false) throw refuse(`${at}/required`, 'names a member that is not allowed')
    const members = [...named, ...unnamed.map((name): [string, unknown] => [String(name), more ?? true])]
    const blank = this.#basic('blank')
    // From the last member to the first: `first` is one member or more from here on, if any are left.
    let first = ''
    let mayEnd = true
    for (const [name, member] of members.reverse()) {
      const value = this.#value(member, `${at}/properties/${name}`)
      const others = first === '' ? '' : mayEnd ? `("," ${blank} ${first})?` : `"," ${blank} ${first}`
      const here = `${literal(JSON.stringify(name))} ":" ${blank} ${value} ${others}`
      const optional = !required.includes(name)
      first = this.#rule(optional && first !== '' ? `${here} | ${first}` : here)
      mayEnd &&= optional
    }
    return `"{" ${mayEnd ? `(${first})?` : first} "}"`
  }

  #dictionary(more: unknown, at: string): string {
    if (more === false) return '"{}"'
    if (more === undefined || more === true) return this.#basic('object')
    const value = this.#value(more, `${at}/additionalProperties`)
    const [string, blank] = [this.#basic('string'), this.#basic('blank')]
    const pair = this.#rule(`${string} ":" ${blank} ${value}`)
    return `"{" (${pair} ("," ${blank} ${pair})*)? "}"`
  }

  #array(schema: Schema, at: string): string {
    const { prefixItems = [], items = true } = schema
    if (!Array.isArray(prefixItems)) throw refuse(`${at}/prefixItems`, 'is not a list')
    const [min, max] = bounds(schema, 'minItems', 'maxItems', at)
    const fixed = prefixItems.map((item, index) => this.#value(item, `${at}/prefixItems/${index}`))
    if (max !== undefined && max < fixed.length) throw refuse(`${at}/maxItems`, 'is less than the items listed')
    const blank = this.#basic('blank')
    const more = items === false || max === fixed.length ? undefined : this.#value(items, `${at}/items`)
    if (more === undefined && min > fixed.length) throw refuse(`${at}/minItems`, 'is more than the items allowed')
    const list = fixed.join(` "," ${blank} `)
    if (more === undefined) return `"[" ${list} "]"`
    const least = Math.max(0, min - fixed.length)
    const most = max === undefined ? '' : max - fixed.length
    if (fixed.length > 0) return `"[" ${list} ("," ${blank} ${more}){${least},${most}} "]"`
    const others = max === undefined ? '' : max - 1
    const some = `${more} ("," ${blank} ${more}){${Math.max(0, least - 1)},${others}}`
    return `"[" ${least === 0 ? `(${some})?` : some} "]"`
  }

  #string(schema: Schema, at: string): string {
    const [min, max] = bounds(schema, 'minLength', 'maxLength', at)
    if (schema.format === undefined) {
      if (min === 0 && max === undefined) return this.#basic('string')
      return `"\\"" ${this.#basic('char')}{${min},${max ?? ''}} "\\""`
    }
    const format = stringFormats[String(schema.format)]
    if (!format) throw refuse(`${at}/format`, `is not one of ${Object.keys(stringFormats).join(', ')}`)
    if (min > 0 || max !== undefined) throw refuse(at, 'combines format with a length')
    for (const need of format.needs) this.#basic(need)
    return `"\\"" ${format.body} "\\""`
  }

  #integer(schema: Schema, at: string): string {
    const low = bound(schema, 'minimum', at, Math.ceil) ?? after(bound(schema, 'exclusiveMinimum', at, Math.floor), 1)
    const high = bound(schema, 'maximum', at, Math.floor) ?? after(bound(schema, 'exclusiveMaximum', at, Math.ceil), -1)
    if (low === undefined && high === undefined) return this.#basic('integer')
    if (low !== undefined && high !== undefined && low > high) throw refuse(at, 'allows no integer')
    return integerRange(low, high)
  }

  #basic(name: string): string {
    const body = basicRules[name]
    if (body === undefined) throw new Error(`no grammar rule ${name}`)
    if (!this.#rules.has(name)) {
      this.#rules.set(name, body)
      for (const need of basicNeeds[name] ?? []) this.#basic(need)
    }
    return name
  }

  #rule(body: string): string {
    const name = this.#name()
    this.#rules.set(name, body)
    return name
  }

  #name(): string {
    if (++this.#names > engineLimits.grammarRulesMax) throw refuse('', 'is too large for this engine')
    return `r${this.#names}`
  }
}

function isOfType(value: unknown, type: unknown): boolean {
  if (type === 'integer') return Number.isInteger(value)
  if (type === 'array') return Array.isArray(value)
  if (type === 'null') return value === null
  if (type === 'object') return isSchema(value)
  return typeof value === type
}

const after = (value: number | undefined, step: number) => (value === undefined ? undefined : value + step)

function bound(schema: Schema, key: string, at: string, round: (value: number) => number): number | undefined {
  const value = schema[key]
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isSafeInteger(round(value))) throw refuse(`${at}/${key}`, 'is out of range')
  return round(value)
}

function bounds(schema: Schema, min: string, max: string, at: string): [number, number | undefined] {
  const low = bound(schema, min, at, Math.ceil) ?? 0
  const high = bound(schema, max, at, Math.floor)
  for (const [key, value] of [
    [min, low],
    [max, high ?? 0],
  ] as const) {
    if (value < 0 || value > engineLimits.grammarRepeatsMax) {
      throw refuse(`${at}/${key}`, `is not within 0 … ${engineLimits.grammarRepeatsMax}`)
    }
  }
  if (high !== undefined && high < low) throw refuse(`${at}/${max}`, `is less than ${min}`)
  return [low, high]
}

function refuse(at: string, what: string): PoolError {
  const place = at === '' ? 'The JSON schema' : `The JSON schema at ${at.slice(0, 200)}`
  return new PoolError(
    'invalid_schema',
    `${place} ${what}.`,
    'See docs/reference/engines.md for what a schema may say.',
    {
      param: 'response_format',
    },
  )
}

/**
 * The GBNF grammar (llama.cpp) of all JSON texts that a schema allows, or of a subset of them: members stand in the
 * schema's order and blanks only after `:` and `,`. Throws `PoolError` `invalid_schema` for a schema that allows
 * nothing, says something that this grammar could not keep, or could be read in more than `waysMax` ways at once.
 */
export function jsonGrammar(schema: unknown, waysMax: number = engineLimits.grammarWaysMax): string {
  try {
    return new GrammarWriter(schema, waysMax).write()
  } catch (error) {
    if (error instanceof RangeError) throw refuse('', 'refers to itself in too long a chain') // the stack is full
    throw error
  }
}
