import { protocolLimits } from '../limits.ts'
import type { DrawnToken, EndingEvidence, Evidence, LogitOf, PositionEvidence } from './evidence.ts'

/** The layout; a later one has another number. */
const version = 1
const methods = ['replay', 'prefix'] as const
const shownEndings = ['nothing', 'stop_string', 'length'] as const
const none = 0xffff_ffff
const headBytes = 17
const drawnBytes = 20
const logitBytes = 12
const positionBytes = 4 + 2 * drawnBytes + 8 + 1
const { checkTopMax, evidenceBytesMax, logitMin, wrongPiecesMax } = protocolLimits

/** The most bytes that evidence about so many positions has, each with so many of the likeliest tokens. */
export function evidenceBytesOf(positions: number, top: number): number {
  return headBytes + 32 + 4 + 4 * wrongPiecesMax + 4 + 1 + (positions + 1) * (positionBytes + top * logitBytes)
}

/**
 * The one form of evidence in bytes, which a verifier commits to. All integers big-endian, all other numbers IEEE 754
 * binary64; spec/worker.md section 8 has the layout. Positions and wrong pieces are ascending.
 */
export function encodeEvidence(evidence: Evidence): Buffer {
  const { positions, ending, logitsHash } = evidence
  const wrongPieces = evidence.wrongPieces.slice(0, wrongPiecesMax)
  const reported = ending.end ? [...positions, ending.end] : positions
  const reportedBytes = reported.reduce((sum, { top }) => sum + positionBytes + top.length * logitBytes, 0)
  const hash = logitsHash === undefined ? Buffer.alloc(0) : Buffer.from(logitsHash, 'hex')
  const bytes = Buffer.alloc(headBytes + hash.length + 4 + 4 * wrongPieces.length + 4 + 1 + reportedBytes)
  const writer = new Writer(bytes)
  writer.u8(version)
  writer.u8(methods.indexOf(evidence.method))
  writer.u8(shownEndings.indexOf(ending.shown))
  writer.u8(hash.length === 0 ? 0 : 1)
  writer.u32(evidence.promptTokens)
  writer.u32(evidence.completionTokens)
  writer.u32(evidence.unknownAt ?? none)
  writer.u8(ending.end ? 1 : 0)
  writer.bytes(hash)
  writer.u32(wrongPieces.length)
  for (const position of wrongPieces) writer.u32(position)
  writer.u32(positions.length)
  for (const position of reported) writer.position(position)
  return bytes.subarray(0, writer.at)
}

/** Reads evidence strictly: bytes that {@link encodeEvidence} would not have written are none. Never throws. */
export function decodeEvidence(bytes: Buffer): Evidence | undefined {
  if (bytes.length > evidenceBytesMax) return undefined
  try {
    const evidence = new Reader(bytes).evidence()
    return evidence && encodeEvidence(evidence).equals(bytes) ? evidence : undefined
  } catch (error) {
    if (error instanceof RangeError) return undefined // it ends too early
    throw error
  }
}

class Writer {
  at = 0
  readonly #bytes: Buffer

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  u8(value: number): void {
    this.at = this.#bytes.writeUInt8(value, this.at)
  }

  u32(value: number): void {
    this.at = this.#bytes.writeUInt32BE(value, this.at)
  }

  /** Zero has one form. */
  f64(value: number): void {
    this.at = this.#bytes.writeDoubleBE(value + 0, this.at)
  }

  bytes(value: Buffer): void {
    this.at += value.copy(this.#bytes, this.at)
  }

  position({ position, chosen, choice, margin, top }: PositionEvidence): void {
    this.u32(position)
    this.#drawn(chosen)
    this.#drawn(choice)
    this.f64(margin)
    this.u8(top.length)
    for (const { id, logit } of top) {
      this.u32(id)
      this.f64(logit)
    }
  }

  #drawn({ id, logit, noise }: DrawnToken): void {
    this.u32(id)
    this.f64(logit)
    this.f64(noise)
  }
}

/** Throws a RangeError where the bytes end too early, or say what no evidence does. */
class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  evidence(): Evidence | undefined {
    if (this.#u8() !== version) return undefined
    const method = this.#oneOf(methods)
    const shown = this.#oneOf(shownEndings)
    const hashed = this.#flag()
    const [promptTokens, completionTokens, unknownAt] = [this.#u32(), this.#u32(), this.#u32()]
    const ended = this.#flag()
    const logitsHash = hashed ? this.#take(32).toString('hex') : undefined
    const wrongPieces = this.#ascending(wrongPiecesMax, () => this.#u32())
    const positions = this.#positions(completionTokens)
    const ending: EndingEvidence = { shown, end: ended ? this.#position() : undefined }
    if (ending.end && (shown !== 'nothing' || ending.end.position !== completionTokens)) return undefined
    if (this.#at !== this.#bytes.length) return undefined
    return {
      method,
      promptTokens,
      completionTokens,
      wrongPieces,
      unknownAt: unknownAt === none ? undefined : unknownAt,
      positions,
      ending,
      logitsHash,
    }
  }

  #positions(below: number): PositionEvidence[] {
    const count = this.#u32()
    if (count * positionBytes > this.#bytes.length - this.#at) throw new RangeError('fewer positions than announced')
    const positions: PositionEvidence[] = []
    for (let n = 0; n < count; n++) {
      const one = this.#position()
      if (one.position >= below || one.position <= (positions[n - 1]?.position ?? -1)) throw new RangeError('order')
      positions.push(one)
    }
    return positions
  }

  #ascending(countMax: number, read: () => number): number[] {
    const count = this.#u32()
    if (count > countMax) throw new RangeError('more than are reported')
    const values: number[] = []
    for (let n = 0; n < count; n++) {
      const value = read()
      if (value <= (values[n - 1] ?? -1)) throw new RangeError('order')
      values.push(value)
    }
    return values
  }

  #position(): PositionEvidence {
    const position = this.#u32()
    const [chosen, choice] = [this.#drawn(), this.#drawn()]
    const margin = this.#f64()
    if (margin < 0) throw new RangeError('a margin is at least 0')
    const count = this.#u8()
    if (count > checkTopMax) throw new RangeError('more tokens than are listed')
    const top: LogitOf[] = []
    for (let n = 0; n < count; n++) top.push({ id: this.#u32(), logit: this.#logit() })
    return { position, chosen, choice, margin, top }
  }

  #drawn(): DrawnToken {
    return { id: this.#u32(), logit: this.#logit(), noise: this.#f64() }
  }

  #logit(): number {
    const logit = this.#f64()
    if (logit > 0 || logit < logitMin) throw new RangeError('a logit is relative to the largest')
    return logit
  }

  #u8(): number {
    const value = this.#bytes.readUInt8(this.#at)
    this.#at += 1
    return value
  }

  #u32(): number {
    const value = this.#bytes.readUInt32BE(this.#at)
    this.#at += 4
    return value
  }

  #f64(): number {
    const value = this.#bytes.readDoubleBE(this.#at)
    if (!Number.isFinite(value)) throw new RangeError('not a number')
    this.#at += 8
    return value
  }

  #flag(): boolean {
    const value = this.#u8()
    if (value > 1) throw new RangeError('neither yes nor no')
    return value === 1
  }

  #oneOf<T>(values: readonly T[]): T {
    const value = values[this.#u8()]
    if (value === undefined) throw new RangeError('unknown')
    return value
  }

  #take(count: number): Buffer {
    const end = this.#at + count
    if (end > this.#bytes.length) throw new RangeError('it ends too early')
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }
}
