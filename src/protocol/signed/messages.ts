import { z } from 'zod'
import { protocolLimits } from '../limits.ts'
import { encode, encodeTyped } from './dag-cbor.ts'
import type { SignedType } from './digest.ts'
import {
  account,
  amount,
  assuranceLevel,
  bytes16,
  bytes32,
  count,
  custody,
  decodeMode,
  kind,
  modelName,
  prices,
  text,
  time,
  usage,
  uuid,
} from './fields.ts'
import { hotMessages } from './hot-messages.ts'
import { writeShape } from './shape.ts'

/** Who pays for what at most. Signed by the payer's key, or by the pool's as custodian. */
export const orderSchema = z
  .strictObject({
    /** PoolId of the executing pool. */
    pool: bytes32,
    /** Raw public key that signs: the payer's, or the pool's when it is custodian. */
    payer: bytes32,
    custody,
    /** Ledger account that pays. */
    account,
    /** Job id, when whoever signs has minted one. */
    job: uuid.nullable(),
    /** Used once by a payer key, in any order within a window. */
    seq: count.nullable(),
    kind,
    model: modelName,
    /** sha256 of the model file, when the payer insists on one. */
    digest: bytes32.nullable(),
    /** The most it may cost. */
    cap: amount,
    prices,
    assurance: assuranceLevel,
    /** The pool must have accepted it before. */
    expires: time,
    /** {@link bodyCommitment} of the raw HTTP body. */
    commitment: bytes32,
  })
  .refine((order) => (order.custody === 'payer' ? order.seq !== null : order.seq === null && order.job !== null), {
    message: 'must have a seq when a payer signs, a job and no seq when the pool does',
    path: ['seq'],
  })
export type Order = z.infer<typeof orderSchema>

/** The pool asks one worker to compute one segment of one choice. Payer and custody are not in it. */
export const assignmentSchema = z.strictObject({
  /** Hash of the order. */
  order: bytes32,
  pool: bytes32,
  worker: bytes32,
  /** 0 for the first attempt of this choice. */
  attempt: count,
  choice: z.int().min(0).max(protocolLimits.choicesMax),
  kind,
  model: modelName,
  digest: bytes32.nullable(),
  commitment: bytes32,
  /** Root of the token leaves of the earlier segments of this choice; null for the first. */
  prefix: bytes32.nullable(),
  prefixTokens: count,
  /** Of the sampler. */
  seed: bytes32,
  /** Completion tokens of this choice, those of earlier segments included. */
  maxTokens: count,
  /** What is left of the order's cap. */
  cap: amount,
  prices,
  decode: decodeMode,
  /** UTC hours since 1970. */
  epoch: count,
  expires: time,
  /** Random per order: tells the worker which assignments belong together, and nothing else. */
  pseudonym: bytes16,
})
export type Assignment = z.infer<typeof assignmentSchema>

/** What a worker answers for, segment by segment. */
export const workerStatementSchema = z.strictObject({
  /** Hash of the assignment. */
  assignment: bytes32,
  worker: bytes32,
  /** {@link SegmentHash} of what it sent in this segment. */
  sent: bytes32,
  /** Pieces in it. */
  tokens: count,
  /** A claim, never the bill. */
  usage,
  model: modelName,
  digest: bytes32.nullable(),
  /** Kernel class; null where none was measured. */
  kernel: text(200).nullable(),
  decode: decodeMode,
  sampler: z.enum(['sampler/1', 'native', 'upstream']),
  finish: text(40),
  /** As in the assignment. */
  prefix: bytes32.nullable(),
})
export type WorkerStatement = z.infer<typeof workerStatementSchema>

/** What a verifier has found out and not yet said; {@link commitmentOf} it. */
export const commitmentSchema = z.strictObject({
  check: uuid,
  worker: bytes32,
  commitment: bytes32,
})
export type Commitment = z.infer<typeof commitmentSchema>

/** What the pool answers for. It has no signature of its own: the checkpoint of the log covers it. */
export const poolStatementSchema = z.strictObject({
  pool: bytes32,
  job: uuid,
  /** Hash of the order. */
  order: bytes32,
  custody,
  kind,
  model: modelName,
  /** The model that was asked for, where nobody offered it and `model` stood in for it; absent otherwise. */
  asked: modelName.optional(),
  digest: bytes32.nullable(),
  state: z.enum(['completed', 'cancelled', 'failed', 'expired', 'interrupted']),
  /** Hashes of the worker statements, in the order of the segments that have one. */
  statements: z.array(bytes32).max(protocolLimits.segmentsMax),
  segments: z
    .array(
      z.strictObject({
        choice: count,
        attempt: count,
        worker: bytes32,
        /** Pieces relayed. */
        tokens: count,
        /** Whether the worker signed a statement for it. */
        signed: z.boolean(),
      }),
    )
    .max(protocolLimits.segmentsMax),
  /** {@link responseHash}; null when nothing was answered. */
  response: bytes32.nullable(),
  /** As billed. */
  usage,
  price: amount,
  /** Transfer that moved the price. */
  transfer: uuid.nullable(),
  prices,
  /** Workers that saw the prompt to answer it. */
  exposure: z.array(bytes32).max(protocolLimits.segmentsMax),
  assurance: z.strictObject({ asked: text(40), given: text(40), reason: text(200).nullable() }),
  evidence: z.enum(['none', 'weak', 'margin', 'exact']),
  /** Looks at answers before anything was shown; absent where there were none. */
  checks: z
    .array(
      z.strictObject({
        /** Whose answer: that of a signed segment. */
        choice: count,
        attempt: count,
        reason: z.enum(['side_by_side']),
        verifier: bytes32,
        /** `waived`: it was asked and said nothing. */
        outcome: z.enum(['clean', 'hit', 'waived']),
        /** The first part of the rule that makes it a hit, or why nothing was said. */
        why: text(200).nullable(),
        /** Decimal number, as text. */
        score: text(40).nullable(),
      }),
    )
    .min(1)
    .max(protocolLimits.looksMax)
    .optional(),
  /** Of the request body, as in the order. */
  commitment: bytes32,
  /** UTC hours since 1970. */
  epoch: count,
  acceptedAt: time,
  endedAt: time,
})
export type PoolStatement = z.infer<typeof poolStatementSchema>
/** One look at one answer, before anything was shown. */
export type StatedLook = NonNullable<PoolStatement['checks']>[number]

/** What became of a check that ended after the receipt was written. Signed by the pool. */
export const verdictSchema = z.strictObject({
  job: uuid,
  /** Leaf hash of the receipt. */
  receipt: bytes32,
  check: text(200),
  reason: text(200),
  verifier: bytes32.nullable(),
  outcome: z.enum(['clean', 'hit', 'waived']),
  /** Decimal number, as text. */
  score: text(40).nullable(),
  epoch: count,
  at: time,
})
export type CheckVerdict = z.infer<typeof verdictSchema>

/** New credit. Signed by an admin key. */
export const grantSchema = z.strictObject({
  pool: bytes32,
  to: account,
  amount,
  /** Of the transfer. */
  id: uuid,
  memo: text(200),
  at: time,
})
export type Grant = z.infer<typeof grantSchema>

/** From one user to another. Signed by the payer's key. */
export const transferSchema = z.strictObject({
  pool: bytes32,
  from: account,
  to: account,
  amount,
  /** Of the transfer. */
  id: uuid,
  memo: text(200),
  expires: time,
})
export type Transfer = z.infer<typeof transferSchema>

/** What the pool itself moves, and why. Signed by the pool's key. */
export const moveSchema = z.strictObject({
  pool: bytes32,
  kind: z.enum(['release', 'slash', 'refund', 'restitution']),
  from: account,
  to: account,
  amount,
  /** Of the transfer. */
  id: uuid,
  /** Whose earnings or whose false answer it is about. */
  worker: bytes32.nullable(),
  /** The job that is paid back. */
  job: uuid.nullable(),
  /** The rule, or the check or tribunal that convicted. */
  because: text(200),
  at: time,
})
export type Move = z.infer<typeof moveSchema>

/** What a worker says for itself against a conviction or a block. Signed by its key. */
export const appealSchema = z.strictObject({
  pool: bytes32,
  worker: bytes32,
  /** Of the appeal. */
  id: uuid,
  statement: text(4_000),
  /** A log, versions, digests. */
  evidence: text(16_000).nullable(),
  at: time,
})
export type Appeal = z.infer<typeof appealSchema>

/** What each type of signed bytes says. */
export interface SignedMessages {
  'order/1': Order
  'assignment/1': Assignment
  'worker-statement/1': WorkerStatement
  'commitment/1': Commitment
  'pool-statement/1': PoolStatement
  'verdict/1': CheckVerdict
  'grant/1': Grant
  'transfer/1': Transfer
  'move/1': Move
  'appeal/1': Appeal
}

const schemas: { readonly [T in SignedType]: z.ZodType<SignedMessages[T], unknown> } = {
  'order/1': orderSchema,
  'assignment/1': assignmentSchema,
  'worker-statement/1': workerStatementSchema,
  'commitment/1': commitmentSchema,
  'pool-statement/1': poolStatementSchema,
  'verdict/1': verdictSchema,
  'grant/1': grantSchema,
  'transfer/1': transferSchema,
  'move/1': moveSchema,
  'appeal/1': appealSchema,
}

export type Parsed<T> = { readonly ok: true; readonly message: T } | { readonly ok: false; readonly problem: string }

/** What a decoded value says as a message of this type. Unknown, missing and malformed members are refused. */
export function parseMessage<T extends SignedType>(type: T, value: unknown): Parsed<SignedMessages[T]> {
  const parsed = schemas[type].safeParse(value)
  if (parsed.success) return { ok: true, message: parsed.data }
  const issue = parsed.error.issues[0]
  const where = issue?.path.join('.') || 'it'
  return { ok: false, problem: `${where}: ${issue?.message ?? 'malformed'}` }
}

/**
 * The bytes to sign of a message made here, on the hot path. What its type cannot say (a text too long) its maker sees to; readers look
 * all the same.
 */
export function encodeOwnMessage<T extends SignedType>(type: T, message: SignedMessages[T]): Buffer {
  const shape = 'checks' in message || 'asked' in message ? undefined : hotMessages[type]
  return shape ? writeShape(shape, message) : encodeTyped(message)
}

/** The bytes to sign. Throws a TypeError on a message that its readers would refuse. */
export function encodeMessage<T extends SignedType>(type: T, message: SignedMessages[T]): Buffer {
  const parsed = parseMessage(type, message)
  if (!parsed.ok) throw new TypeError(`${type}: ${parsed.problem}`)
  const bytes = encode(parsed.message)
  if (bytes.length > protocolLimits.signedBytesMax)
    throw new TypeError(`${type}: larger than ${protocolLimits.signedBytesMax} bytes`)
  return bytes
}
