/**
 * Checks: an answer that another worker looks at again, and what it saw.
 *
 * Owns    the question, the evidence and its one form in bytes, the commitment that comes before it.
 * Imports crypto. No clock, no disk, no socket.
 * Always  a commitment names the check and the verifier; evidence has one form, and only that is read.
 */
export { commitmentOf, uuidBytes, uuidOf } from './commitment.ts'
export type { CheckTask, DrawnToken, EndingEvidence, Evidence, PositionEvidence } from './evidence.ts'
export { decodeEvidence, encodeEvidence, evidenceBytesOf } from './evidence-codec.ts'
export {
  decodeSamplingOpening,
  encodeSamplingOpening,
  epochCommitment,
  orderLeafData,
  rateLeafData,
  samplingCommitment,
  selectionPrf,
  selects,
} from './selection.ts'
