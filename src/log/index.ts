/**
 * Log: the tree of everything that must not be rewritten unseen, and the acts of administration.
 *
 * Owns    log_leaves, log_head, log_checkpoints, log_tiles, acts; the file `checkpoint` in the data directory.
 * Imports crypto, protocol, runtime, storage. What a leaf commits to, other rooms know.
 * Always  leaves are committed together with what they are about, under a signed root; history is only ever added to;
 *         nothing is signed that does not go on from what was signed before.
 */
export { insertAct } from './acts.ts'
export type { LogProblem } from './audit-log.ts'
export {
  auditSnapshot,
  headOf,
  type LogPosition,
  newestLoggedAct,
  outsideCheckpoint,
  readRootAt,
} from './audit-snapshot.ts'
export {
  type GenerationStatement,
  isGenerationSigned,
  parseGenerationStatement,
  signGeneration,
} from './generation-statement.ts'
export { latestCheckpoint } from './latest-checkpoint.ts'
export type { Leaf } from './leaf.ts'
export { describeLoss, openGeneration } from './open-generation.ts'
export { PoolKeys, readPoolKeys } from './pool-keys.ts'
export { type LoggedLeaf, readLeaves } from './read-leaves.ts'
export { type GenerationNote, readGenerationNotes } from './refuse-behind.ts'
export { copyAfterSuccession, succeed } from './succeed.ts'
export { type LogReader, TransparencyLog } from './transparency-log.ts'
