import { type Identity, identityFromSeed, sha256 } from '#crypto'
import { type Assignment, bodyCommitment, encodeMessage, encodeSigned, signBatch } from '#protocol'
import type { RunOrder } from '#workers'

/** The pool and the worker of tests that have no real ones. */
export const testPool = identityFromSeed(Buffer.alloc(32, 0x70))
export const testWorker = identityFromSeed(Buffer.alloc(32, 0x71))

const salt = Buffer.alloc(32, 0x5a)
let orders = 0

export interface PapersOptions {
  readonly pool?: Identity
  /** WorkerId. */
  readonly worker?: string
  /** Milliseconds since 1970. */
  readonly now: number
  /** What to get wrong. */
  readonly wrong?: Partial<Assignment>
}

/** A run whose assignment the pool has signed; each is another one. */
export function withPapers(order: Omit<RunOrder, 'papers'>, options: PapersOptions): RunOrder {
  const { pool = testPool, worker = testWorker.id, now, wrong } = options
  const bytes32 = (hex: string) => Buffer.from(hex, 'hex')
  const assignment: Assignment = {
    order: sha256(Buffer.from(`order ${++orders}`)),
    pool: bytes32(pool.id),
    worker: bytes32(worker),
    attempt: 0,
    choice: order.choice,
    kind: order.kind,
    model: order.model,
    digest: order.digest === null ? null : bytes32(order.digest),
    commitment: bodyCommitment(salt, order.body),
    prefix: order.resume.length > 0 ? sha256(Buffer.from('prefix')) : null,
    prefixTokens: order.resume.length,
    seed: bytes32(order.seed),
    maxTokens: order.maxTokens,
    cap: 1_000_000n,
    prices: { prompt: 1n, completion: 2n },
    decode: 'batched',
    epoch: Math.floor(now / 3_600_000),
    expires: now + 3_600_000,
    pseudonym: Buffer.alloc(16, 1),
    ...wrong,
  }
  const bytes = encodeMessage('assignment/1', assignment)
  const [signature] = signBatch(pool, [{ type: 'assignment/1', bytes }])
  if (!signature) throw new Error('a batch of one has one signature')
  return { ...order, papers: { assignment: encodeSigned({ bytes, signature }), salt, order: null } }
}
