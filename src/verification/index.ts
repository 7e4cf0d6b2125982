/**
 * Verification: which work is checked, what a check says, and what follows from it.
 *
 * Owns    tables standings, standing_acts, epochs, rate_tables, told_rates, checks, looks, kernel_classes, mutual_looks, transcripts, tribunals, fresh_starts, verdicts, appeals, calibrations; sampling by epoch keys, the judges of margins and quorums, the standing of
 *         a worker, deterrence; who computes to the same last bit as whom.
 * Imports crypto, ledger (the lab's money), protocol, reputation, runtime, storage. The judges are pure: no clock, no dice, no table.
 * Always  the decision to check falls after the worker has signed; no single verifier convicts anybody; each decision can be made
 *         again by anybody from what the pool publishes.
 */
export type { Acts } from './acts.ts'
export { aloneWith } from './alone-with.ts'
export { type AppealRecord, Appeals } from './appeals.ts'
export { auditCheckLeaves, auditCheckTables } from './audit-checks.ts'
export { judgeMutualLooks, type MutualLookOnRecord, readMutualLooks } from './audit-mutual-looks.ts'
export { auditSampling } from './audit-sampling.ts'
export { checkStage, contentTable, mutualLookStage, transcriptStage } from './check-stages.ts'
export type { Comparison, MutualLook } from './comparison.ts'
export { verificationOps } from './conformance.ts'
export { deterrenceDefaults, refuseProfitable } from './deterrence.ts'
export { epochStage, epochToldStage } from './epochs.ts'
export { CheckIntake, type GivenSegment, type Sampling } from './intake.ts'
export type { SamplingCount } from './judge-disclosure.ts'
export { judgePublished } from './judge-published.ts'
export { KernelNames } from './kernel-names.ts'
export { Kernels } from './kernels.ts'
export { type LabResult, type LabRow, labDefaults, labHonestMin, runLab } from './lab/run-lab.ts'
export { zoo } from './lab/zoo.ts'
export { type Checks, openChecks } from './open-checks.ts'
export { pendingSlashes } from './pending-slashes.ts'
export { resealAll } from './reseal.ts'
export { checkProfiles } from './sampling.ts'
export { sealedElsewhere } from './sealed-elsewhere.ts'
export { sealingKey } from './sealing.ts'
export { slashedWorkers } from './slashed-workers.ts'
export { Standings } from './standings.ts'
export { tellSampling } from './tell-sampling.ts'
export { ToldEpochs } from './told-epochs.ts'
export type { KeptAnswer } from './transcript.ts'
export { type ReputationRecord, TrustLogs, type VerificationRecord } from './trust-logs.ts'
