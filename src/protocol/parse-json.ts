import { isUtf8 } from 'node:buffer'
import { protocolLimits } from './limits.ts'
import type { Refusal } from './pool-error.ts'

export interface JsonLimits {
  /** Bytes of the text. */
  readonly bodyBytesMax: number
  /** Arrays and objects inside each other; a scalar has depth 0. */
  readonly jsonDepthMax: number
}

export type ParsedJson =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly refusal: Refusal }

const quote = 0x22
const backslash = 0x5c
const colon = 0x3a

/**
 * One JSON text (RFC 8259) as I-JSON (RFC 7493): valid UTF-8 without a byte order mark, no object with the same name twice (after
 * unescaping), no half of a surrogate pair, no number beyond a double, nested at most `jsonDepthMax` deep. Integers above 2^53 are
 * rounded as JSON.parse does. Never throws; a name `__proto__` is an ordinary own property. About a third dearer than JSON.parse: one
 * scan counts the names before, one walk counts those that were kept.
 */
export function parseJson(bytes: Buffer, limits: JsonLimits = protocolLimits): ParsedJson {
  if (bytes.length > limits.bodyBytesMax) return tooLarge(limits.bodyBytesMax)
  if (!isUtf8(bytes)) return invalid('The JSON text is not valid UTF-8.')
  const text = bytes.toString('utf8')
  const names = countNames(text, limits.jsonDepthMax)
  if (names === undefined) return tooDeep(limits.jsonDepthMax)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return invalid(`The JSON text is malformed${position(error)}.`)
  }
  const walk = new Walk(text.includes('\\u'))
  walk.visit(value)
  if (walk.fault) return invalid(walk.fault)
  return walk.names === names ? { ok: true, value } : duplicate(text)
}

/**
 * Names in all objects of a text that is JSON, which is the number of colons outside strings; `undefined` when it nests deeper than
 * `depthMax`. Of a text that is not JSON the number means nothing.
 */
function countNames(text: string, depthMax: number): number | undefined {
  let names = 0
  let depth = 0
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === quote) at = endOfString(text, at)
    else if (code === colon) names += 1
    else if ((code | 0x20) === 0x7b) {
      depth += 1 // { or [
      if (depth > depthMax) return undefined
    } else if ((code | 0x20) === 0x7d) depth -= 1 // } or ]
  }
  return names
}

/** Index of the quote that closes the string opened at `open`: the next one after an even number of backslashes. */
function endOfString(text: string, open: number): number {
  let at = text.indexOf('"', open + 1)
  while (at > 0) {
    let before = at - 1
    while (text.charCodeAt(before) === backslash) before -= 1
    if ((at - before) % 2 === 1) return at
    at = text.indexOf('"', at + 1)
  }
  return text.length
}

/** Counts the names JSON.parse kept and looks for values that JSON's grammar allows and we do not. */
class Walk {
  names = 0
  fault: string | undefined
  readonly #escapes: boolean

  /** Half a surrogate pair can only come from a \u escape: the bytes were valid UTF-8. */
  constructor(escapes: boolean) {
    this.#escapes = escapes
  }

  visit(value: unknown): void {
    if (typeof value === 'object') {
      if (Array.isArray(value)) for (const item of value) this.visit(item)
      else if (value !== null) this.#object(value)
    } else if (typeof value === 'number') {
      if (!Number.isFinite(value)) this.fault = 'The JSON text holds a number beyond the range of a double.'
    } else if (this.#escapes && typeof value === 'string') this.#text(value)
  }

  #object(value: object): void {
    const members = value as Record<string, unknown>
    for (const name of Object.keys(members)) {
      this.names += 1
      if (this.#escapes) this.#text(name)
      this.visit(members[name])
    }
  }

  #text(text: string): void {
    if (!text.isWellFormed()) this.fault = 'The JSON text holds half of a surrogate pair.'
  }
}

/** Where JSON.parse stopped. Its own message quotes the text, which may be a prompt; only the number is taken. */
function position(error: unknown): string {
  const found = error instanceof Error ? / at position (\d+)/.exec(error.message) : null
  return found ? ` at character ${found[1]}` : ''
}

/** The first name that stands twice in one object of a valid text; the slow way, once a duplicate is known to exist. */
function findDuplicate(text: string): string | undefined {
  const open: Set<string>[] = []
  let last = ''
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === quote) {
      const end = endOfString(text, at)
      last = text.slice(at, end + 1)
      at = end
    } else if (code === colon) {
      const name: unknown = JSON.parse(last)
      const seen = open.at(-1)
      if (typeof name !== 'string' || seen?.has(name)) return String(name)
      seen?.add(name)
    } else if ((code | 0x20) === 0x7b) open.push(new Set())
    else if ((code | 0x20) === 0x7d) open.pop()
  }
  return undefined
}

function duplicate(text: string): ParsedJson {
  const name = (findDuplicate(text) ?? '').slice(0, 100)
  return {
    ok: false,
    refusal: {
      code: 'duplicate_key',
      message: `An object holds the name ${JSON.stringify(name)} more than once.`,
      fix: 'Send each name once; programs disagree about which of two counts.',
      param: name,
    },
  }
}

function invalid(message: string): ParsedJson {
  return { ok: false, refusal: { code: 'invalid_json', message, fix: 'Send one JSON text in UTF-8 (RFC 8259).' } }
}

function tooDeep(depthMax: number): ParsedJson {
  const message = `The JSON text nests deeper than ${depthMax}.`
  return { ok: false, refusal: { code: 'too_deep', message, fix: 'Flatten the arrays and objects.' } }
}

function tooLarge(bytesMax: number): ParsedJson {
  const message = `The body is larger than ${bytesMax} bytes.`
  return { ok: false, refusal: { code: 'body_too_large', message, fix: 'Send less at once.' } }
}
