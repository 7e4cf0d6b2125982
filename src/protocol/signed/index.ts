/**
 * Signed messages: who orders, assigns, computes and bills, in bytes that anyone can check later.
 *
 * Owns    strict dag-cbor, the messages and their schemas, batch signatures, the rules an order and an assignment must keep.
 * Imports crypto. No clock, no disk, no socket.
 * Always  what is verified are the bytes that were sent, and only bytes with one reading are read.
 */
export { BatchSigner } from './batch-signer.ts'
export { bodyCommitment } from './body-commitment.ts'
export { checkAssignment } from './check-assignment.ts'
export { checkOrder, type OrderFacts, payerSignatureRequired } from './check-order.ts'
export { checkStatements } from './check-statements.ts'
export { decodeStrict, encode } from './dag-cbor.ts'
export { digestOf, type SignedType } from './digest.ts'
export { type DecodedSigned, decodeSigned, encodeSigned, type Signed, toSigned, unsigned } from './envelope.ts'
export { epochMs, epochOf } from './epoch.ts'
export { encodeByteStrings } from './hot-messages.ts'
export {
  type Assignment,
  type CheckVerdict,
  encodeMessage,
  encodeOwnMessage,
  type Grant,
  type Move,
  type Order,
  type PoolStatement,
  parseMessage,
  type SignedMessages,
  type StatedLook,
  type Transfer,
  type WorkerStatement,
} from './messages.ts'
export {
  decodeOrderHeader,
  encodeOrderHeader,
  type OrderHeader,
  orderHeader,
  orderKindOf,
} from './order-header.ts'
export { curableRefusals, OrderSigner } from './order-signer.ts'
export { type PriceList, type PriceListJson, parsePriceList, priceListSchema } from './price-list.ts'
export {
  buildReceipt,
  type ReceiptParts,
  receiptLeafData,
  signedView,
} from './receipt-file.ts'
export { responseHash, streamHash } from './response-hash.ts'
export { SegmentHash } from './segment-hash.ts'
export * as shapes from './shape.ts'
export { writeShape } from './shape.ts'
export { type Signature, type Signer, signBatch } from './signature.ts'
export { SignatureChecker } from './signature-checker.ts'
export { timeSequence } from './time-sequence.ts'
export { type ReceiptExpectation, type ReceiptVerdict, readReceipt, verifyReceipt } from './verify-receipt.ts'
