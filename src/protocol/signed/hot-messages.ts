import { assuranceLevels } from '../assurance.ts'
import { protocolLimits } from '../limits.ts'
import type { Assignment, Order, PoolStatement, SignedMessages, WorkerStatement } from './messages.ts'
import {
  amount,
  anyBytes,
  bytesOf,
  count,
  countTo,
  flag,
  listOf,
  mapOf,
  oneOf,
  orNull,
  readShape,
  type Shape,
  textTo,
  tupleOf,
  writeShape,
} from './shape.ts'

const bytes32 = bytesOf(32)
const kind = oneOf(['chat', 'completion', 'embedding'])
const custody = oneOf(['payer', 'pool'])
const decode = oneOf(['batched', 'isolated'])
const model = textTo(protocolLimits.modelNameCharsMax)
const prices = mapOf<Order['prices']>({ prompt: amount, completion: amount })
const usage = mapOf<WorkerStatement['usage']>({ prompt: count, completion: count })
const uuid = textTo(36, /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)

const order = mapOf<Order>({
  pool: bytes32,
  payer: bytes32,
  custody,
  account: textTo(200),
  job: orNull(uuid),
  seq: orNull(count),
  kind,
  model,
  digest: orNull(bytes32),
  cap: amount,
  prices,
  assurance: oneOf(assuranceLevels),
  expires: count,
  commitment: bytes32,
})

const assignment = mapOf<Assignment>({
  order: bytes32,
  pool: bytes32,
  worker: bytes32,
  attempt: count,
  choice: countTo(protocolLimits.choicesMax),
  kind,
  model,
  digest: orNull(bytes32),
  commitment: bytes32,
  prefix: orNull(bytes32),
  prefixTokens: count,
  seed: bytes32,
  maxTokens: count,
  cap: amount,
  prices,
  decode,
  epoch: count,
  expires: count,
  pseudonym: bytesOf(16),
})

const workerStatement = mapOf<WorkerStatement>({
  assignment: bytes32,
  worker: bytes32,
  sent: bytes32,
  tokens: count,
  usage,
  model,
  digest: orNull(bytes32),
  kernel: orNull(textTo(200)),
  decode,
  sampler: oneOf(['sampler/1', 'native', 'upstream']),
  finish: textTo(40),
  prefix: orNull(bytes32),
})

// `listOf` reads what may not be changed, and a message's lists may: nobody but their maker holds them
const mutable = <T>(shape: Shape<readonly T[]>) => shape as Shape<T[]>

/** Of a job that was answered by the model asked for, and whose answers nobody looked at before they were shown: of nearly all. */
const poolStatement = mapOf<Omit<PoolStatement, 'checks' | 'asked'>>({
  pool: bytes32,
  job: uuid,
  order: bytes32,
  custody,
  kind,
  model,
  digest: orNull(bytes32),
  state: oneOf(['completed', 'cancelled', 'failed', 'expired', 'interrupted']),
  statements: mutable(listOf(bytes32, protocolLimits.segmentsMax)),
  segments: mutable(
    listOf(
      mapOf<PoolStatement['segments'][number]>({
        choice: count,
        attempt: count,
        worker: bytes32,
        tokens: count,
        signed: flag,
      }),
      protocolLimits.segmentsMax,
    ),
  ),
  response: orNull(bytes32),
  usage,
  price: amount,
  transfer: orNull(uuid),
  prices,
  exposure: mutable(listOf(bytes32, protocolLimits.segmentsMax)),
  assurance: mapOf<PoolStatement['assurance']>({
    asked: textTo(40),
    given: textTo(40),
    reason: orNull(textTo(200)),
  }),
  evidence: oneOf(['none', 'weak', 'margin', 'exact']),
  commitment: bytes32,
  epoch: count,
  acceptedAt: count,
  endedAt: count,
})

/** The messages of every request. */
export const hotMessages: { readonly [T in keyof SignedMessages]?: Shape<SignedMessages[T]> } = {
  'order/1': order,
  'assignment/1': assignment,
  'worker-statement/1': workerStatement,
  'pool-statement/1': poolStatement,
}

type Wire = readonly [bytes: Buffer, key: Buffer, sig: Buffer, index: number, size: number, path: readonly Buffer[]]

/** `[bytes, key, sig, index, size, path]`. */
export const wireShape: Shape<Wire> = tupleOf<Wire>(
  anyBytes,
  bytes32,
  bytesOf(64),
  count,
  countTo(protocolLimits.batchMessagesMax, 1),
  listOf(bytes32, Math.ceil(Math.log2(protocolLimits.batchMessagesMax))),
)

const byteStrings = listOf(anyBytes)

/** dag-cbor array of byte strings. */
export const encodeByteStrings = (values: readonly Buffer[]): Buffer => writeShape(byteStrings, values)

/** A message that says all it must and nothing else; undefined: read it carefully. Shapes do not know rules between members. */
export function readHot<T extends 'assignment/1' | 'worker-statement/1'>(
  type: T,
  bytes: Buffer,
): SignedMessages[T] | undefined {
  const shape = hotMessages[type]
  return shape && readShape(shape, bytes)
}
