/**
 * As much of Node's Buffer as `lichen/client` uses, for browsers: the bundle puts it where the code says `Buffer`. What it does not know it
 * refuses with a TypeError; `browser-client.test.ts` holds it against Node's.
 */
const hexPairs = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
const utf8 = new TextEncoder()
/** As Node does: no byte-order mark is taken away, what is no UTF-8 becomes U+FFFD. */
const fromUtf8 = new TextDecoder('utf-8', { ignoreBOM: true })

class Bytes extends Uint8Array {
  static override from(source: unknown, encoding?: unknown, length?: number): Bytes {
    if (typeof source === 'string') return over(decode(source, encoding))
    if (isMemory(source)) return new Bytes(source, (encoding as number | undefined) ?? 0, length)
    return over(Uint8Array.from(source as ArrayLike<number>))
  }

  static override of(...bytes: number[]): Bytes {
    return over(Uint8Array.of(...bytes))
  }

  static alloc(size: number, fill = 0): Bytes {
    const bytes = new Bytes(size)
    bytes.fill(fill)
    return bytes
  }

  static allocUnsafe(size: number): Bytes {
    return new Bytes(size)
  }

  static allocUnsafeSlow(size: number): Bytes {
    return new Bytes(size)
  }

  static isBuffer(value: unknown): boolean {
    return value instanceof Bytes
  }

  static byteLength(text: string | Uint8Array): number {
    return typeof text === 'string' ? utf8.encode(text).length : text.length
  }

  static concat(parts: readonly Uint8Array[], length = parts.reduce((sum, part) => sum + part.length, 0)): Bytes {
    const all = new Bytes(length)
    let at = 0
    for (const part of parts) {
      all.set(part.subarray(0, length - at), at)
      at += part.length
    }
    return all
  }

  override toString(encoding = 'utf8'): string {
    switch (encoding) {
      case 'utf8':
        return fromUtf8.decode(this)
      case 'hex':
        return Array.from(this, (byte) => hexPairs[byte]).join('')
      case 'latin1':
        return characters(this)
      case 'base64':
        return btoa(characters(this))
      case 'base64url':
        return btoa(characters(this)).replace(/=+$/, '').replaceAll('+', '-').replaceAll('/', '_')
      default:
        throw new TypeError(`unknown encoding ${encoding}`)
    }
  }

  equals(other: Uint8Array): boolean {
    return this.length === other.length && this.every((byte, at) => byte === other[at])
  }

  compare(other: Uint8Array): number {
    for (let at = 0; at < Math.min(this.length, other.length); at++) {
      const difference = (this[at] ?? 0) - (other[at] ?? 0)
      if (difference !== 0) return Math.sign(difference)
    }
    return Math.sign(this.length - other.length)
  }

  copy(target: Uint8Array, at = 0, from = 0, to = this.length): number {
    const part = this.subarray(from, Math.min(to, from + target.length - at))
    target.set(part, at)
    return part.length
  }

  write(text: string, at = 0, encoding?: string): number {
    return over(decode(text, encoding)).copy(this, at)
  }

  latin1Write(text: string, at = 0): number {
    return this.write(text, at, 'latin1')
  }

  utf8Write(text: string, at = 0): number {
    return this.write(text, at)
  }

  latin1Slice(from = 0, to = this.length): string {
    return characters(this.subarray(from, to))
  }

  utf8Slice(from = 0, to = this.length): string {
    return fromUtf8.decode(this.subarray(from, to))
  }

  readUInt8(at = 0): number {
    return view(this).getUint8(at)
  }

  readUInt16BE(at = 0): number {
    return view(this).getUint16(at)
  }

  readUInt32BE(at = 0): number {
    return view(this).getUint32(at)
  }

  readUIntBE(at: number, length: number): number {
    let value = 0
    for (let i = at; i < at + length; i++) value = value * 256 + view(this).getUint8(i)
    return value
  }

  readBigUInt64BE(at = 0): bigint {
    return view(this).getBigUint64(at)
  }

  writeUInt8(value: number, at = 0): number {
    view(this).setUint8(at, value)
    return at + 1
  }

  writeUInt16BE(value: number, at = 0): number {
    view(this).setUint16(at, value)
    return at + 2
  }

  writeUInt32BE(value: number, at = 0): number {
    view(this).setUint32(at, value)
    return at + 4
  }

  writeUIntBE(value: number, at: number, length: number): number {
    let rest = value
    for (let i = at + length - 1; i >= at; i--) {
      view(this).setUint8(i, rest % 256)
      rest = Math.floor(rest / 256)
    }
    return at + length
  }

  writeBigUInt64BE(value: bigint, at = 0): number {
    view(this).setBigUint64(at, value)
    return at + 8
  }
}

const over = (bytes: Uint8Array): Bytes => new Bytes(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length)

/** Also of another window. */
const isMemory = (value: unknown): value is ArrayBuffer =>
  Object.prototype.toString.call(value) === '[object ArrayBuffer]'

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

/** One character for each byte; in pieces, since an argument list has its limit. */
function characters(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += 8_192) text += String.fromCharCode(...bytes.subarray(at, at + 8_192))
  return text
}

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))

function decode(text: string, encoding: unknown = 'utf8'): Uint8Array {
  switch (encoding) {
    case 'utf8':
      return utf8.encode(text)
    case 'latin1':
      return bytesOf(text)
    case 'hex':
      return Uint8Array.from(/^(?:[0-9a-f]{2})*/i.exec(text)?.[0].match(/../g) ?? [], (pair) =>
        Number.parseInt(pair, 16),
      )
    case 'base64':
    case 'base64url':
      return bytesOf(atob(plainBase64(text)))
    default:
      throw new TypeError(`unknown encoding ${encoding}`)
  }
}

/** As Node reads it: both alphabets, other characters passed over, the end at the first `=`. */
function plainBase64(text: string): string {
  const plain =
    text
      .split('=')[0]
      ?.replaceAll('-', '+')
      .replaceAll('_', '/')
      .replace(/[^A-Za-z0-9+/]/g, '') ?? ''
  return plain.length % 4 === 1 ? plain.slice(0, -1) : plain
}

export { Bytes as Buffer }
