import { z } from 'zod'
import { hex64 } from './hex64.ts'
import { protocolLimits } from './limits.ts'
import { modelOfferSchema } from './model-offer.ts'

/** Version in the Noise prologue: `lichen/worker/1 ‖ PoolId`. */
export const workerProtocol = 'lichen/worker/1'

/**
 * First byte of every message inside a worker session. Worker → pool below 0x80, pool → worker above.
 * JSON bodies are UTF-8, parsed strictly (no duplicate keys, depth ≤ 64). Integers in binary bodies are big-endian.
 */
export const messageType = {
  /** JSON {@link helloSchema}. First message of a worker. */
  hello: 0x01,
  /** JSON {@link heartbeatSchema}. Every 5 s, and in answer to a ping. */
  heartbeat: 0x02,
  /** JSON {@link helloSchema}: the offer changed. */
  offer: 0x03,
  /** Empty: finish what runs, send nothing new. */
  drain: 0x04,
  /** JSON {@link roomSchema}: what it has room for, from a worker with the feature {@link acceptModelsFeature}. */
  room: 0x05,
  /** JSON {@link fetchingSchema}: how far it is with an offered model. */
  fetching: 0x06,
  /** JSON {@link fetchedSchema}: the last word on an offered model. */
  fetched: 0x07,
  /** `u32 stream` then per token `u32 id ‖ u16 length ‖ piece`. */
  tokens: 0x20,
  /** JSON {@link tokenDetailsSchema}: tokens with log probabilities. */
  tokenDetails: 0x21,
  /** JSON {@link deltaSchema}: what is not text (tool calls) from an upstream. */
  delta: 0x22,
  /** `u32 stream ‖ u32 index` then f32 little-endian values. */
  vector: 0x23,
  /** `u32 stream ‖ u8 finish` (place in {@link finishReasons}) `‖ u32 prompt tokens ‖ u32 completion tokens ‖ signed worker-statement/1, or nothing`. */
  end: 0x24,
  /** JSON {@link failedSchema}. */
  failed: 0x25,
  /** JSON {@link committedSchema}: it has looked, and is bound to what it saw. */
  committed: 0x26,
  /** `16 bytes check ‖ 32 bytes nonce ‖ evidence`. */
  evidence: 0x27,
  /** JSON {@link classSchema}: the answer to `calibrate`. */
  class: 0x28,
  /** JSON {@link checkFailedSchema}: the last word on a check or calibration that has no other. */
  checkFailed: 0x29,
  /** JSON {@link welcomeSchema}. First message of a pool, and again when the standing changes (approved, renewed). */
  welcome: 0x81,
  /** Empty: answer with a heartbeat at once. */
  ping: 0x82,
  /** JSON {@link refusedSchema}; the pool closes afterwards. */
  refused: 0x83,
  /** `u32 header length ‖ header JSON` {@link dispatchSchema} `‖ 32 bytes salt ‖ u16 length ‖ assignment ‖ u16 length ‖ order ‖ raw HTTP body`. */
  dispatch: 0x90,
  /** `u32 stream`. */
  cancel: 0x91,
  /** `u32 stream ‖ u32 bytes`: the worker may send so many bytes of stream message bodies more. */
  credit: 0x92,
  /** `u32 header length ‖ header JSON` {@link checkSchema} `‖ raw HTTP body ‖ per token u32 id ‖ u16 length ‖ piece`. */
  check: 0x93,
  /** `16 bytes check`: all who should have committed have. */
  reveal: 0x94,
  /** JSON {@link calibrateSchema}. */
  calibrate: 0x95,
  /** `16 bytes check`: nobody waits for this check or calibration any more. */
  withdraw: 0x96,
  /** JSON {@link kernelSchema}: what the pool measured of this worker, which its statements repeat. */
  kernel: 0x97,
  /** JSON {@link modelOfferedSchema}: a model file to fetch from the pool and to lend. */
  offerModel: 0x98,
  /** `16 bytes offer`: the model is not wanted any more. */
  withdrawModel: 0x99,
} as const

/** Feature of a worker that computes only what a payer's own key has ordered, and wants to see the order. */
export const payerSignatureFeature = 'payer_signature'

/** Feature of a worker whose upstreams are run by the pool's own people: `paranoid` requests may go there. Its operator's word. */
export const upstreamInsideFeature = 'upstream_inside'

/** Feature of a worker that looks at other workers' answers again, and whose kernel class can be measured. */
export const verifyFeature = 'verify'

/** Feature of a worker whose owner lets the pool choose models for it: it fetches them from the pool and lends them. */
export const acceptModelsFeature = 'accept_models'

const streamId = z.int().min(0).max(0xffff_ffff)
const count = z.int().min(0).max(0xffff_ffff)
const base64 = z.string().max(16_384)
/** In base64. */
const signedWire = z.string().max((protocolLimits.signedWireBytesMax / 3) * 4)

export const helloSchema = z.strictObject({
  /** `lichen/0.1.0`, shown to the operator. */
  agent: z.string().max(100),
  features: z.array(z.string().max(40)).max(64),
  /** Requests it computes at once. */
  slots: z.int().min(1).max(4_096),
  models: z.array(modelOfferSchema).max(protocolLimits.modelsPerWorkerMax),
})
export type Hello = z.infer<typeof helloSchema>

export const heartbeatSchema = z.strictObject({ active: count })

export const welcomeSchema = z.strictObject({
  standing: z.enum(['pending', 'approved']),
  worker: z.string().max(64),
  /** RFC 3339; the worker's key is refused afterwards. */
  expiresAt: z.string().max(40).nullable(),
  heartbeatMs: z.int().min(100).max(60_000),
})
export type Welcome = z.infer<typeof welcomeSchema>

export const refusedSchema = z.strictObject({
  code: z.string().max(60),
  message: z.string().max(1_000),
  fix: z.string().max(1_000),
})

export const dispatchSchema = z.strictObject({
  stream: streamId,
  /** Lease id; one per attempt. */
  lease: z.string().max(64),
  kind: z.enum(['chat', 'completion', 'embedding']),
  model: z.string().max(protocolLimits.modelNameCharsMax),
  digest: z.string().max(64).nullable(),
  /** Index of the choice, 0 … n − 1. */
  choice: z.int().min(0).max(protocolLimits.choicesMax),
  /** 32 bytes of sampler seed, hex. */
  seed: hex64,
  /** Most completion tokens of this choice, those of earlier segments included. */
  maxTokens: z.int().min(0).max(16_777_216),
  /** Token ids of earlier segments; the worker continues after them. */
  resume: z.array(z.int().min(0).max(0xffff_fffd)).max(1_048_576),
  /** Milliseconds until the worker must have ended. */
  deadlineMs: z.int().min(1).max(86_400_000),
  /** Bytes of stream message bodies it may send before more credit. */
  credit: count,
})
export type DispatchHeader = z.infer<typeof dispatchSchema>

export const tokenDetailsSchema = z.strictObject({
  stream: streamId,
  tokens: z
    .array(
      z.strictObject({
        id: streamId,
        piece: base64,
        logprob: z.number(),
        top: z.array(z.strictObject({ piece: base64, logprob: z.number() })).max(protocolLimits.topLogprobsMax),
      }),
    )
    .max(4_096),
})

export const deltaSchema = z.strictObject({ stream: streamId, delta: z.record(z.string(), z.unknown()) })

export const failedSchema = z.strictObject({
  stream: streamId,
  /** Whether another worker might succeed: false when the request itself is at fault. */
  retry: z.boolean(),
  code: z.string().max(60),
  message: z.string().max(1_000),
  fix: z.string().max(1_000),
  param: z.string().max(200).nullable(),
})

const checkId = z.string().regex(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'a UUID in lower case')
const model = z.string().min(1).max(protocolLimits.modelNameCharsMax)
const deadlineMs = z.int().min(1).max(86_400_000)

/** Nothing in it tells why an answer is looked at: a user's, one known to be right and one known to be wrong are asked alike. */
export const checkSchema = z.strictObject({
  /** Random, of no order. */
  check: checkId,
  kind: z.enum(['chat', 'completion']),
  model,
  digest: z.string().max(64).nullable(),
  choice: z.int().min(0).max(protocolLimits.choicesMax),
  seed: hex64,
  /** What the worker that answered was allowed. */
  maxTokens: z.int().min(0).max(16_777_216),
  /** What it offered. */
  contextTokens: z.int().min(1).max(16_777_216),
  replay: z.enum(['prefill', 'isolated']),
  /** Null: all. */
  positions: z
    .array(z.int().min(0).max(0xffff_fffe))
    .max(protocolLimits.checkPositionsMax)
    .refine((all) => all.every((position, n) => n === 0 || position > (all[n - 1] ?? 0)), 'must be ascending')
    .nullable(),
  top: z.int().min(0).max(protocolLimits.checkTopMax),
  /** Milliseconds until the worker must have committed. */
  deadlineMs,
  /** Bytes of the HTTP body; the tokens follow it. */
  bodyBytes: z.int().min(0).max(protocolLimits.bodyBytesMax),
})
export type CheckHeader = z.infer<typeof checkSchema>

export const calibrateSchema = z.strictObject({
  /** Names this calibration as an id names a check. */
  check: checkId,
  model,
  digest: z.string().max(64).nullable(),
  text: z.string().min(1).max(protocolLimits.calibrationCharsMax),
  deadlineMs,
})
export type Calibrate = z.infer<typeof calibrateSchema>

export const kernelSchema = z.strictObject({
  model,
  /** The pool's name for the worker's kernel class with this model; null: not known (any more). */
  kernel: z.string().max(200).nullable(),
})

const offerId = checkId
const fileBytes = z.int().min(0).max(protocolLimits.modelBytesMax)

export const roomSchema = z.strictObject({
  /** Bytes of model files it would still take. */
  diskBytes: fileBytes,
  /** Bytes of memory that are free now. */
  memoryBytes: fileBytes,
  /** Digests and bytes of the models it has from the pool: it drops them when an offer says so. */
  held: z.array(z.strictObject({ digest: hex64, bytes: fileBytes })).max(protocolLimits.modelsPerWorkerMax),
})
export type Room = z.infer<typeof roomSchema>

/** Memory a model takes when it is loaded: its file, a quarter more for context and buffers, and the process around it. */
export const memoryFor = (fileBytes: number): number => Math.ceil(fileBytes * 1.25) + 256 * 2 ** 20

export const modelOfferedSchema = z.strictObject({
  /** Names this offer. */
  offer: offerId,
  /** The name it is to be lent by. */
  name: modelOfferSchema.shape.name,
  /** Lowercase hex sha256 that the file must have. */
  digest: hex64,
  bytes: fileBytes.min(1),
  /** Digests of models from the pool that make room for it. */
  drop: z.array(hex64).max(protocolLimits.modelsPerWorkerMax),
  /** Lets fetch this file, until then, over HTTP; base64url. */
  ticket: z.string().regex(/^[\w-]{43}$/, '43 characters of base64url'),
  expiresMs: z.int().min(1).max(86_400_000),
})
export type ModelOffered = z.infer<typeof modelOfferedSchema>

export const fetchingSchema = z.strictObject({ offer: offerId, bytes: fileBytes })

export const fetchedSchema = z.strictObject({
  offer: offerId,
  /** Null: it holds the model and has offered it. */
  code: z.string().max(60).nullable(),
  message: z.string().max(1_000),
  fix: z.string().max(1_000),
})

export const committedSchema = z.strictObject({
  check: checkId,
  /** The signed `commitment/1` in wire form. */
  commitment: signedWire,
})

export const classSchema = z.strictObject({ check: checkId, class: hex64 })

export const checkFailedSchema = z.strictObject({
  check: checkId,
  code: z.string().max(60),
  message: z.string().max(1_000),
  fix: z.string().max(1_000),
})
