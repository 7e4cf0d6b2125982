/**
 * Jobs: one job's life, from an accepted request to its settlement.
 *
 * Owns    tables jobs, segments, orders, receipts, pool_instances, known_models, idempotency; retry, takeover, counting, deadlines.
 * Imports scheduler, workers, ledger, log, storage, protocol, crypto, runtime.
 * Always  order, hold and job are durable together before a worker hears of it, every job ends and is settled once, with a receipt,
 *         and no prompt or reply is stored.
 */
export type { AcceptedRequest, AssuranceWish, Payer } from './accepted-request.ts'
export { auditJobLeaves, auditJobTables } from './audit-tables.ts'
export type { JobEvents } from './events.ts'
export type { JobDetails, JobSummary } from './find-jobs.ts'
export { type FoundReceipt, findReceipt, type ProveLeaves } from './find-receipt.ts'
export type { IdempotencyClaim, IdempotentAnswer, IdempotentRequest, Replay } from './idempotency.ts'
export type { JobHandle, JobSink } from './job-sink.ts'
export { jobStages } from './job-stages.ts'
export { jobStates } from './job-states.ts'
export { Jobs, type JobsOptions, type JobsSettings } from './jobs.ts'
export { jobsLimits } from './limits.ts'
export { NotAccepted } from './why-not-accepted.ts'
