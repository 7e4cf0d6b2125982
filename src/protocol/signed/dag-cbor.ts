import { decode as decodeLoosely, encode as encodeLoosely } from '@ipld/dag-cbor'
import { protocolLimits } from '../limits.ts'

export interface CborLimits {
  /** Bytes of the encoding. */
  readonly signedBytesMax: number
  /** Arrays and maps inside each other; a scalar has depth 0. */
  readonly signedDepthMax: number
}

export type Decoded = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly problem: string }

/**
 * The one dag-cbor encoding of a value: shortest integers, no floats, members sorted by length and then bytewise. Takes plain objects,
 * arrays, text, bytes, booleans, null, safe integers and bigints of 64 bits; a bigint is written like the number. Throws a TypeError on
 * anything else, `undefined` and fractions included.
 */
export function encode(value: unknown): Buffer {
  const bytes = encodeLoosely(value)
  const encoding = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const problem = whyNotPlain(encoding, Number.POSITIVE_INFINITY)
  if (problem) throw new TypeError(`dag-cbor: ${problem}`)
  return encoding
}

/** The same of a value whose type the compiler has checked: no second look at what was written. For the hot path. */
export function encodeTyped(value: unknown): Buffer {
  const bytes = encodeLoosely(value)
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * The value of bytes that {@link encode} could have written, and of no others: one value, nothing after it, no float, tag, CID or
 * `undefined`, and encoding it again gives the same bytes. Integers beyond 2^53 − 1 come as bigint, all others as number; byte strings as
 * Uint8Array. Never throws.
 */
export function decodeStrict(bytes: Buffer, limits: CborLimits = protocolLimits): Decoded {
  if (bytes.length > limits.signedBytesMax) return refuse(`it is larger than ${limits.signedBytesMax} bytes`)
  const problem = whyNotPlain(bytes, limits.signedDepthMax)
  if (problem) return refuse(problem)
  let value: unknown
  let again: Uint8Array
  try {
    value = decodeLoosely(bytes)
    again = encodeLoosely(value) // throws on a map that looks like a CID object: members `/` and `bytes` of one value
  } catch {
    return refuse('it is not dag-cbor')
  }
  return bytes.equals(again) ? { ok: true, value } : refuse('it does not encode back to the same bytes')
}

const refuse = (problem: string): Decoded => ({ ok: false, problem })

/** Major types (RFC 8949 §3.1) that are read here; 0 and 1 are integers, 2 and 3 are byte and text strings. */
const array = 4
const map = 5
const tag = 6
const simple = 7

/**
 * Walks the heads without recursion, before a recursive decoder sees them: one item, no deeper than `depthMax`, no tag, no float, of the
 * simple values only true, false and null. Lengths that overrun the bytes end the walk.
 */
function whyNotPlain(bytes: Buffer, depthMax: number): string | undefined {
  /** Items still to come of each open array or map, outermost first. */
  const open: number[] = [1]
  let at = 0
  while (open.length > 0) {
    const left = open.pop() ?? 0
    if (left === 0) continue
    open.push(left - 1)
    const head = readHead(bytes, at)
    if (typeof head === 'string') return head
    at = head.next
    if (head.major === array || head.major === map) {
      if (open.length > depthMax) return `it is nested deeper than ${depthMax}`
      open.push(head.major === map ? 2 * head.argument : head.argument)
    }
  }
  return at === bytes.length ? undefined : 'bytes follow the value'
}

interface Head {
  readonly major: number
  readonly argument: number
  /** Where the next item begins. */
  readonly next: number
}

const cutShort = 'it is cut short'

function readHead(bytes: Buffer, at: number): Head | string {
  const first = bytes[at]
  if (first === undefined) return cutShort
  const major = first >> 5
  const short = first & 0x1f
  if (major === tag) return 'it holds a tag'
  if (major === simple) {
    if (short >= 20 && short <= 22) return { major, argument: short, next: at + 1 }
    return short >= 25 && short <= 27 ? 'it holds a float' : 'it holds a simple value other than true, false and null'
  }
  if (short < 24) return sized(bytes, major, short, at + 1)
  if (short > 27) return 'it holds a length of its own making'
  const width = 1 << (short - 24)
  if (at + 1 + width > bytes.length) return cutShort
  const argument = width === 8 ? Number(bytes.readBigUInt64BE(at + 1)) : bytes.readUIntBE(at + 1, width)
  return sized(bytes, major, argument, at + 1 + width)
}

function sized(bytes: Buffer, major: number, argument: number, at: number): Head | string {
  if (major < 2) return { major, argument, next: at }
  if (argument > bytes.length - at) return cutShort
  return { major, argument, next: major < array ? at + argument : at }
}
