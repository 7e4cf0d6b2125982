import { cryptoLimits } from './limits.ts'

/**
 * The one JSON text of a value, RFC 8785, as UTF-8: members sorted by UTF-16 code units, numbers and strings as ECMAScript writes
 * them. Throws a TypeError on what JSON cannot say: NaN, ±Infinity, half a surrogate pair, `undefined`, functions, bigints, objects
 * that are not plain, nesting above 256.
 */
export function canonicalize(value: unknown): Buffer {
  return Buffer.from(write(value, 0), 'utf8')
}

function write(value: unknown, depth: number): string {
  if (depth > cryptoLimits.canonicalDepthMax) throw new TypeError('canonical JSON: nested deeper than 256')
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'string') return writeString(value)
  if (typeof value === 'number') return writeNumber(value)
  if (Array.isArray(value)) return `[${Array.from(value, (item) => write(item, depth + 1)).join(',')}]`
  if (isPlainObject(value)) return writeObject(value, depth)
  throw new TypeError(`canonical JSON: ${typeof value} has no JSON form`)
}

function writeString(text: string): string {
  if (!text.isWellFormed()) throw new TypeError('canonical JSON: half a surrogate pair')
  return JSON.stringify(text)
}

function writeNumber(value: number): string {
  if (!Number.isFinite(value)) throw new TypeError(`canonical JSON: ${value} has no JSON form`)
  return JSON.stringify(value)
}

function writeObject(value: Record<string, unknown>, depth: number): string {
  const members = Object.keys(value).sort(byCodeUnits)
  return `{${members.map((name) => `${writeString(name)}:${write(value[name], depth + 1)}`).join(',')}}`
}

/** RFC 8785 §3.2.3. */
function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : 1
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
