import { protocolLimits } from '#protocol'
import type { CipherState } from './cipher-state.ts'
import { transportLimits } from './limits.ts'

/** Flags of a record (spec/worker.md §2). */
const whole = 0x00
const firstFragment = 0x01
const nextFragment = 0x02
const lastUnderKey = 0x80

const tagBytes = 16
const flagsBytes = 1
const lengthBytes = 2
const totalBytes = 4
/** Bytes a record can carry beside its flags. */
export const recordContentMax = protocolLimits.frameBytesMax - tagBytes - flagsBytes
/** The longest message that needs no fragments. */
const wholeMessageMax = recordContentMax - lengthBytes

/** One message on its way out: type byte and the parts of its body. */
export interface OutgoingMessage {
  readonly type: number
  readonly body: readonly Buffer[]
  /** Bytes of type and body together. */
  readonly length: number
}

/** When a sender renews its key; {@link transportLimits} unless a test says otherwise. */
export interface RekeyLimits {
  readonly rekeyRecords: number
  readonly rekeyBytes: number
  readonly rekeyMs: number
}

/** Puts messages into records and renews its own key. Pure: time comes in as an argument. */
export class RecordWriter {
  readonly #cipher: CipherState
  readonly #limits: RekeyLimits
  #records = 0
  #bytes = 0
  #since: number

  constructor(cipher: CipherState, nowMs: number, limits: RekeyLimits = transportLimits) {
    this.#cipher = cipher
    this.#limits = limits
    this.#since = nowMs
  }

  /** Whether the nonce still counts. False: end the session. */
  get usable(): boolean {
    return this.#cipher.nonce < transportLimits.nonceMax
  }

  /** One record of whole messages. Their bytes in a record, {@link bytesInRecord}, must fit {@link recordContentMax}. */
  writeWhole(messages: readonly OutgoingMessage[], nowMs: number): Buffer {
    let length = flagsBytes
    for (const message of messages) length += bytesInRecord(message)
    const plain = Buffer.allocUnsafe(length)
    plain[0] = whole
    let at = flagsBytes
    for (const message of messages) {
      plain[at++] = message.length >>> 8
      plain[at++] = message.length & 0xff
      plain[at++] = message.type
      for (const part of message.body) at += part.copy(plain, at)
    }
    return this.#seal(plain, nowMs)
  }

  /** The records of a message too long for one. */
  *writeFragments(message: OutgoingMessage, nowMs: number): Generator<Buffer> {
    const bytes = Buffer.concat([Buffer.of(message.type), ...message.body], message.length)
    let at = 0
    while (at < bytes.length) {
      const head = at === 0 ? totalBytes : 0
      const take = Math.min(bytes.length - at, recordContentMax - head)
      const plain = Buffer.allocUnsafe(flagsBytes + head + take)
      plain[0] = at === 0 ? firstFragment : nextFragment
      if (at === 0) plain.writeUInt32BE(bytes.length, flagsBytes)
      bytes.copy(plain, flagsBytes + head, at, at + take)
      at += take
      yield this.#seal(plain, nowMs)
    }
  }

  #seal(plain: Buffer, nowMs: number): Buffer {
    this.#records += 1
    this.#bytes += plain.length
    const { rekeyRecords, rekeyBytes, rekeyMs } = this.#limits
    const last = this.#records >= rekeyRecords || this.#bytes >= rekeyBytes || nowMs - this.#since >= rekeyMs
    if (!last) return this.#cipher.seal(plain)
    plain[0] = (plain[0] ?? 0) | lastUnderKey
    const record = this.#cipher.seal(plain)
    this.#cipher.rekey()
    this.#records = 0
    this.#bytes = 0
    this.#since = nowMs
    return record
  }
}

/** Bytes a whole message takes in a record. */
export function bytesInRecord(message: OutgoingMessage): number {
  return lengthBytes + message.length
}

export function needsFragments(message: OutgoingMessage): boolean {
  return message.length > wholeMessageMax
}

/** Takes records apart and follows the sender's keys. Pure: time comes in as an argument. */
export class RecordReader {
  readonly #cipher: CipherState
  readonly #deliver: (type: number, body: Buffer) => void
  readonly #recordsMax: number
  #records = 0
  #fragments: Buffer[] = []
  #missing = 0
  #startedMs = 0

  /** `deliver` is given views of the decrypted record, which is never reused, or copies: {@link bodyOf}. */
  constructor(
    cipher: CipherState,
    deliver: (type: number, body: Buffer) => void,
    recordsMax: number = transportLimits.rekeyRecords,
  ) {
    this.#cipher = cipher
    this.#deliver = deliver
    this.#recordsMax = recordsMax
  }

  /**
   * Reads one record: how many messages it held (a fragment counts as one), or `undefined` for a record that the protocol does not
   * allow; then the session must end. Nothing of a record is delivered before all of it was checked.
   */
  read(record: Buffer, nowMs: number): number | undefined {
    if (record.length > protocolLimits.frameBytesMax || this.#records >= this.#recordsMax) return undefined
    const plain = this.#cipher.open(record)
    if (!plain || plain.length <= flagsBytes) return undefined
    this.#records += 1
    const flags = plain[0] ?? 0
    if (flags & lastUnderKey) {
      this.#cipher.rekey()
      this.#records = 0
    }
    if (this.#missing > 0 && nowMs - this.#startedMs > transportLimits.reassemblyMsMax) return undefined
    const kind = flags & ~lastUnderKey
    if (kind === whole) return this.#readWhole(plain)
    if (kind === firstFragment) return this.#readFirst(plain, nowMs)
    if (kind === nextFragment) return this.#readNext(plain.subarray(flagsBytes))
    return undefined
  }

  #readWhole(plain: Buffer): number | undefined {
    let count = 0
    for (let at = flagsBytes; at < plain.length; count += 1) {
      const length = lengthAt(plain, at)
      at += lengthBytes + length
      if (length === 0 || at > plain.length) return undefined
    }
    for (let at = flagsBytes; at < plain.length; ) {
      const start = at + lengthBytes
      at = start + lengthAt(plain, at)
      this.#deliver(plain[start] ?? 0, bodyOf(plain, start + 1, at))
    }
    return count
  }

  #readFirst(plain: Buffer, nowMs: number): number | undefined {
    const start = flagsBytes + totalBytes
    if (this.#missing > 0 || plain.length <= start) return undefined
    const total = plain.readUInt32BE(flagsBytes)
    if (total > protocolLimits.messageBytesMax) return undefined
    this.#missing = total
    this.#startedMs = nowMs
    return this.#readNext(plain.subarray(start))
  }

  #readNext(bytes: Buffer): number | undefined {
    if (bytes.length > this.#missing) return undefined
    this.#fragments.push(bytes)
    this.#missing -= bytes.length
    if (this.#missing > 0) return 1
    const message = Buffer.concat(this.#fragments)
    this.#fragments = []
    this.#deliver(message[0] ?? 0, message.subarray(1))
    return 1
  }
}

/** A copy of what is a small part of a large record: whoever keeps a message, as tokens are kept, keeps at most 8 times its bytes or 8 KiB. */
function bodyOf(plain: Buffer, from: number, to: number): Buffer {
  const view = plain.subarray(from, to)
  return plain.length <= 8_192 || 8 * view.length >= plain.length ? view : Buffer.from(view)
}

/** `u16` at `at`; 0, which no message has, where the record ends too early. */
function lengthAt(plain: Buffer, at: number): number {
  return at + lengthBytes > plain.length ? 0 : ((plain[at] ?? 0) << 8) | (plain[at + 1] ?? 0)
}
