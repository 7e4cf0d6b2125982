import { z } from 'zod'
import { canonicalize, sha256 } from '#crypto'
import { samplingOpeningBytes } from '../check/selection.ts'
import { protocolLimits } from '../limits.ts'
import { fromBase64url } from './base64url.ts'
import { decodeStrict } from './dag-cbor.ts'
import { decodeSigned, type Signed } from './envelope.ts'
import { encodeByteStrings } from './hot-messages.ts'
import { type PoolStatement, parseMessage } from './messages.ts'

/** Everything a receipt file is made of, as it lies in the pool's tables. */
export interface ReceiptParts {
  /** Raw public key of the pool. */
  readonly poolKey: Buffer
  /** Wire form. */
  readonly order: Buffer
  /** Wire forms of the worker statements, in the order of the pool statement. */
  readonly workers: readonly Buffer[]
  /** Bytes of the pool statement. */
  readonly statement: Buffer
  /** Wire forms. */
  readonly verdicts: readonly Buffer[]
  readonly log: ReceiptProof
  /** Absent where nothing is sampled. */
  readonly sampling?: SamplingProof | undefined
  /** Receipt files of other pools that computed segments, as they gave them. */
  readonly remote?: readonly Buffer[] | undefined
  /** Statements by which the pool's key named its successors, where one of those has signed a verdict. */
  readonly successions?: readonly string[] | undefined
}

/** Where the leaf of the order is in the same tree, and what it commits to. */
export interface SamplingProof {
  readonly index: number
  readonly path: readonly Buffer[]
  /** 32 bytes. */
  readonly commitment: Buffer
  /** Null until a day after the epoch. */
  readonly told: ToldSampling | null
}

/** What opens the commitment, and what it meant. */
export interface ToldSampling {
  /** Of the epoch, 32 bytes. */
  readonly key: Buffer
  /** 104 bytes: `encodeSamplingOpening`. */
  readonly opening: Buffer
  /** One for each worker statement: its place in the tree of rates; null: it is not among them, and so always checked. */
  readonly rates: readonly (RateProof | null)[]
}

export interface RateProof {
  readonly ppm: number
  readonly index: number
  readonly size: number
  readonly path: readonly Buffer[]
}

/** Where the receipt's leaf is in the log, and the checkpoint that covers it. */
export interface ReceiptProof {
  readonly index: number
  readonly path: readonly Buffer[]
  /** Signed note. */
  readonly checkpoint: string
}

/** The same, read. */
export interface ReceiptMessages {
  readonly order: Signed<'order/1'>
  readonly workers: readonly Signed<'worker-statement/1'>[]
  readonly statement: PoolStatement
  readonly verdicts: readonly Signed<'verdict/1'>[]
}

export type Read<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string }

const base64url = z.string().transform((text, context) => {
  const bytes = fromBase64url(text)
  if (bytes) return bytes
  context.addIssue({ code: 'custom', message: 'is not canonical base64url' })
  return z.NEVER
})
const base64url32 = base64url.refine((bytes) => bytes.length === 32, 'is not 32 bytes')

const path = z.array(base64url32).max(64)
const toldSchema = z.strictObject({
  key: base64url32,
  opening: base64url.refine((bytes) => bytes.length === samplingOpeningBytes, `is not ${samplingOpeningBytes} bytes`),
  rates: z
    .array(
      z
        .strictObject({ ppm: z.int().min(0).max(1_000_000), index: z.int().min(0), size: z.int().min(1), path })
        .nullable(),
    )
    .max(protocolLimits.segmentsMax),
})

/** The file itself, RFC 8785 JSON. */
export const receiptFileSchema = z.strictObject({
  lichen: z.literal('receipt/1'),
  pool_key: base64url32,
  order: base64url,
  worker: z.array(base64url),
  statement: base64url,
  verdicts: z.array(base64url),
  log: z.strictObject({ index: z.int().min(0), path, checkpoint: z.string() }),
  sampling: z
    .strictObject({ index: z.int().min(0), path, commitment: base64url32, told: toldSchema.nullable() })
    .optional(),
  remote: z.array(base64url).min(1).max(protocolLimits.segmentsMax).optional(),
  successions: z.array(z.string().max(2_000)).min(1).max(protocolLimits.successionsMax).optional(),
  view: z.unknown(),
})

/** `"lichen/receipt/1\n" ‖ sha256(dag-cbor array of the worker statements' wire forms) ‖ sha256(pool statement bytes)`: what the log holds. */
export function receiptLeafData(workers: readonly Buffer[], statement: Buffer): Buffer {
  return Buffer.concat([Buffer.from('lichen/receipt/1\n'), sha256(encodeByteStrings(workers)), sha256(statement)])
}

/** Decodes every part strictly; no signature is verified. */
export function readMessages(
  parts: Omit<ReceiptParts, 'poolKey' | 'log' | 'sampling' | 'remote' | 'successions'>,
): Read<ReceiptMessages> {
  const order = decodeSigned(parts.order, 'order/1')
  if (!order.ok) return broken('order', order.problem)
  const bytes = decodeStrict(parts.statement)
  if (!bytes.ok) return broken("pool's statement", bytes.problem)
  const statement = parseMessage('pool-statement/1', bytes.value)
  if (!statement.ok) return broken("pool's statement", statement.problem)
  const workers = readAll(parts.workers, 'worker-statement/1')
  if (!workers.ok) return broken("worker's statement", workers.problem)
  const verdicts = readAll(parts.verdicts, 'verdict/1')
  if (!verdicts.ok) return broken('verdict', verdicts.problem)
  const value = { order: order.signed, workers: workers.value, statement: statement.message, verdicts: verdicts.value }
  return { ok: true, value }
}

function readAll<T extends 'worker-statement/1' | 'verdict/1'>(wires: readonly Buffer[], type: T): Read<Signed<T>[]> {
  const value: Signed<T>[] = []
  for (const wire of wires) {
    const decoded = decodeSigned(wire, type)
    if (!decoded.ok) return decoded
    value.push(decoded.signed)
  }
  return { ok: true, value }
}

const broken = (what: string, problem: string) =>
  ({ ok: false, problem: `The ${what} cannot be read: ${problem}.` }) as const

/** What people read of it. */
export function receiptView({ order, workers, statement, verdicts }: ReceiptMessages): unknown {
  return signedView({
    order: order.message,
    workers: workers.map(({ message }) => message),
    statement,
    verdicts: verdicts.map(({ message }) => message),
  })
}

/** A message as JSON for people: bytes as hex, amounts as decimal text, everything else as it is. */
export function signedView(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return value.toString('hex')
  if (typeof value === 'bigint') return value.toString()
  if (Array.isArray(value)) return value.map(signedView)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, signedView(member)]))
}

/** The receipt file. Throws a TypeError when a part does not decode. */
export function buildReceipt(parts: ReceiptParts): Buffer {
  const messages = readMessages(parts)
  if (!messages.ok) throw new TypeError(messages.problem)
  const text = (bytes: Buffer) => bytes.toString('base64url')
  return canonicalize({
    lichen: 'receipt/1',
    pool_key: text(parts.poolKey),
    order: text(parts.order),
    worker: parts.workers.map(text),
    statement: text(parts.statement),
    verdicts: parts.verdicts.map(text),
    log: { index: parts.log.index, path: parts.log.path.map(text), checkpoint: parts.log.checkpoint },
    ...(parts.sampling ? { sampling: inText(parts.sampling) } : {}),
    ...(parts.remote && parts.remote.length > 0 ? { remote: parts.remote.map(text) } : {}),
    ...(parts.successions && parts.successions.length > 0 ? { successions: [...parts.successions] } : {}),
    view: receiptView(messages.value),
  })
}

/** A value with its bytes as base64url. */
function inText(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return value.toString('base64url')
  if (Array.isArray(value)) return value.map(inText)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, inText(member)]))
}
