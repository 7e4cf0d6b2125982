import { type Identity, identityFromSeed, inclusionPath, leafHash, merkleRoot } from '#crypto'
import {
  type Assignment,
  bodyCommitment,
  buildReceipt,
  encodeMessage,
  encodeSigned,
  type Order,
  type PoolStatement,
  type ReceiptParts,
  receiptLeafData,
  responseHash,
  SegmentHash,
  type Signed,
  type SignedMessages,
  type SignedType,
  type StatedLook,
  signBatch,
  signCheckpoint,
  TokenBatch,
  toSigned,
  unsigned,
  type WorkerStatement,
} from '#protocol'

const seeded = (name: string): Identity => identityFromSeed(Buffer.alloc(32, name))
const idOf = (identity: Identity) => Buffer.from(identity.id, 'hex')

/** The people of the samples; their keys are public and good for nothing else. */
export const pool = seeded('pool')
export const alice = seeded('alice')
export const bob = seeded('bob')
export const carla = seeded('carla')

/** 14 November 2023, 22:13:20 UTC. */
export const sampleTime = 1_700_000_000_000
export const sampleBody = Buffer.from('{"model":"demo","messages":[{"role":"user","content":"2+3="}]}')
export const sampleSalt = Buffer.alloc(32, 7)
export const sampleResponse = Buffer.from('{"choices":[{"message":{"role":"assistant","content":"5"}}]}')
export const sampleStream = Buffer.from(
  ': waiting\n\ndata: {"choices":[{"delta":{"content":"5"}}]}\n\ndata: [DONE]\n\n',
)
const jobId = '018bcfe5-6800-7000-8000-000000000001'
const transferId = '018bcfe5-6800-7000-8000-000000000002'

/** Signs one message alone. */
export function signAlone<T extends SignedType>(signer: Identity, type: T, message: SignedMessages[T]): Signed<T> {
  const { bytes } = unsigned(type, message)
  const [signature] = signBatch(signer, [{ type, bytes }])
  if (!signature) throw new Error('one message has one signature')
  return toSigned(type, message, bytes, signature)
}

export function sampleOrder(changes: Partial<Order> = {}): Order {
  return {
    pool: idOf(pool),
    payer: alice.publicKey,
    custody: 'payer',
    account: 'user:018bcfe5-6800-7000-8000-0000000000a1',
    job: null,
    seq: 41,
    kind: 'chat',
    model: 'demo',
    digest: null,
    cap: 100_000n,
    prices: { prompt: 100n, completion: 400n },
    assurance: 'sampled',
    expires: sampleTime + 600_000,
    commitment: bodyCommitment(sampleSalt, sampleBody),
    ...changes,
  }
}

export function sampleAssignment(changes: Partial<Assignment> = {}): Assignment {
  return {
    order: Buffer.alloc(32, 1),
    pool: idOf(pool),
    worker: idOf(bob),
    attempt: 0,
    choice: 0,
    kind: 'chat',
    model: 'demo',
    digest: Buffer.alloc(32, 2),
    commitment: bodyCommitment(sampleSalt, sampleBody),
    prefix: null,
    prefixTokens: 0,
    seed: Buffer.alloc(32, 3),
    maxTokens: 64,
    cap: 100_000n,
    prices: { prompt: 100n, completion: 400n },
    decode: 'isolated',
    epoch: Math.floor(sampleTime / 3_600_000),
    expires: sampleTime + 600_000,
    pseudonym: Buffer.alloc(16, 4),
    ...changes,
  }
}

function sentOf(...pieces: string[]): { sent: Buffer; tokens: number } {
  const hash = new SegmentHash()
  hash.add(TokenBatch.of(pieces.map((piece, at) => ({ id: at + 10, piece: Buffer.from(piece) }))))
  return { sent: hash.digest(), tokens: hash.pieces }
}

export function sampleWorkerStatement(worker: Identity, changes: Partial<WorkerStatement> = {}): WorkerStatement {
  return {
    assignment: Buffer.alloc(32, 5),
    worker: idOf(worker),
    ...sentOf('5', '\n'),
    usage: { prompt: 12, completion: 2 },
    model: 'demo',
    digest: Buffer.alloc(32, 2),
    kernel: null,
    decode: 'isolated',
    sampler: 'sampler/1',
    finish: 'stop',
    prefix: null,
    ...changes,
  }
}

/** What may be changed in a sample before it is signed, so that a receipt with wrong content is well signed. */
export interface SampleChanges {
  readonly order?: Partial<Order>
  readonly orderSigner?: Identity
  readonly workers?: readonly [Partial<WorkerStatement>, Partial<WorkerStatement>]
  readonly statement?: Partial<PoolStatement>
  readonly response?: Buffer
  readonly extra?: Partial<ReceiptParts>
  readonly leaves?: number
}

/** Parts of a receipt: alice ordered, carla sent a token and was lost, bob took over, carla computed the second choice. */
export function sampleParts(changes: SampleChanges = {}): ReceiptParts {
  const order = signAlone(changes.orderSigner ?? alice, 'order/1', sampleOrder(changes.order))
  const [first, second] = changes.workers ?? []
  const workers = [
    signAlone(bob, 'worker-statement/1', sampleWorkerStatement(bob, first)),
    signAlone(carla, 'worker-statement/1', sampleWorkerStatement(carla, { ...sentOf('6'), ...second })),
  ]
  const statement = encodeMessage('pool-statement/1', {
    ...sampleStatement(order, workers),
    ...(changes.response ? { response: responseHash(changes.response) } : {}),
    ...changes.statement,
  })
  const wires = workers.map(encodeSigned)
  const leaves = Array.from({ length: changes.leaves ?? 6 }, (_, at) => leafHash(Buffer.from(`leaf ${at}`)))
  const index = leaves.length - 2
  leaves[index] = leafHash(receiptLeafData(wires, statement))
  const checkpoint = signCheckpoint({ generation: 1, size: leaves.length, root: merkleRoot(leaves) }, pool)
  return {
    poolKey: pool.publicKey,
    order: encodeSigned(order),
    workers: wires,
    statement,
    verdicts: [],
    log: { index, path: inclusionPath(leaves, index), checkpoint },
    ...changes.extra,
  }
}

function sampleStatement(order: Signed<'order/1'>, workers: readonly Signed<'worker-statement/1'>[]): PoolStatement {
  return {
    pool: idOf(pool),
    job: jobId,
    order: order.hash,
    custody: order.message.custody,
    kind: 'chat',
    model: 'demo',
    digest: Buffer.alloc(32, 2),
    state: 'completed',
    statements: workers.map(({ hash }) => hash),
    segments: [
      { choice: 0, attempt: 0, worker: idOf(carla), tokens: 1, signed: false },
      { choice: 0, attempt: 1, worker: idOf(bob), tokens: 2, signed: true },
      { choice: 1, attempt: 0, worker: idOf(carla), tokens: 1, signed: true },
    ],
    response: responseHash(sampleResponse),
    usage: { prompt: 12, completion: 3 },
    price: 2_400n,
    transfer: transferId,
    prices: { prompt: 100n, completion: 400n },
    exposure: [idOf(carla), idOf(bob)],
    assurance: { asked: 'sampled', given: 'none', reason: 'no_verifier' },
    evidence: 'none',
    commitment: order.message.commitment,
    epoch: Math.floor(sampleTime / 3_600_000),
    acceptedAt: sampleTime,
    endedAt: sampleTime + 1_500,
  }
}

export const sampleReceipt = (changes?: SampleChanges): Buffer => buildReceipt(sampleParts(changes))

/** Of a request that bob and carla computed side by side, each in other tokens, and looked at each other's; `looks`: what they found. */
export function sideBySide(
  looks: Partial<StatedLook>[] = [{}, {}],
  statement: Partial<PoolStatement> = {},
): SampleChanges {
  const of = [
    { attempt: 0, verifier: idOf(carla) },
    { attempt: 1, verifier: idOf(bob) },
  ]
  const checks = looks.map((look, n): StatedLook => {
    const { attempt, verifier } = of[n] ?? { attempt: 0, verifier: idOf(alice) }
    const found = { outcome: 'clean' as const, why: null, score: '0.015300' }
    return { choice: 0, attempt, reason: 'side_by_side', verifier, ...found, ...look }
  })
  return {
    order: { assurance: 'required' },
    statement: {
      segments: [
        { choice: 0, attempt: 0, worker: idOf(bob), tokens: 2, signed: true },
        { choice: 0, attempt: 1, worker: idOf(carla), tokens: 1, signed: true },
      ],
      assurance: { asked: 'required', given: 'required', reason: null },
      evidence: 'margin',
      ...(checks.length > 0 ? { checks } : {}),
      ...statement,
    },
  }
}
