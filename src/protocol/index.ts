/**
 * Protocol: every message a pool, a worker or a client can say, and nothing else.
 *
 * Owns    ids, schemas, signed messages, evidence of checks, refusal codes, wire limits, the strict JSON parser, text from token pieces.
 * Imports crypto. No clock, no disk, no socket.
 * Always  parsing never throws on bytes from outside; it returns a refusal.
 */

export {
  type AssuranceLevel,
  assuranceHeader,
  assuranceLevels,
  assuranceWorkers,
  copiesOf,
  type PrivacyMode,
  privacyHeader,
  privacyModes,
} from './assurance.ts'
export * from './check/index.ts'
export { type RefusalCode, refusalCodes } from './codes.ts'
export { type ConformanceOp, conformanceOp, hexSchema, type OpResult, protocolOps, refused } from './conformance.ts'
export { formatCredits, parseCredits } from './credits.ts'
export { hex64 } from './hex64.ts'
export { type PoolId, parsePoolId, parseWorkerId, type WorkerId } from './ids.ts'
export { protocolLimits } from './limits.ts'
export { logOps } from './log-ops.ts'
export { type ModelFeature, type ModelOffer, modelFeatures, modelOfferSchema } from './model-offer.ts'
export * from './openai/index.ts'
export { parseJson } from './parse-json.ts'
export { PoolError, type Refusal, toOpenAiError } from './pool-error.ts'
export * from './signed/index.ts'
export * from './signed-note.ts'
export { signedOps } from './signed-ops.ts'
export { isSuccessionSignedBy, openSuccession, signSuccession, successorsOf } from './succession.ts'
export { TextAssembler } from './text-assembler.ts'
export { type FinishReason, finishReasons, noTokenId, type Token, type TopToken, type UsageClaim } from './token.ts'
export { bytesOf, noTextId, pieceBytesMax, putTokens, TokenBatch } from './token-batch.ts'
export * from './worker-messages.ts'
