/**
 * Jobs: one job's life, from an accepted request to its settlement.
 *
 * Owns    tables jobs, segments, pool_instances, known_models, idempotency; retry, takeover, counting, deadlines.
 * Imports scheduler, workers, storage, protocol, runtime.
 * Always  a job row is durable before a worker hears of it, every job ends, and no prompt or reply is stored.
 */
export type { AcceptedRequest } from './accepted-request.ts'
export type { JobEvents } from './events.ts'
export type { JobDetails, JobSummary } from './find-jobs.ts'
export type { IdempotencyClaim, IdempotentAnswer, IdempotentRequest, Replay } from './idempotency.ts'
export type { JobHandle, JobSink } from './job-sink.ts'
export { jobStages } from './job-stages.ts'
export { jobStates } from './job-states.ts'
export { Jobs, type JobsOptions, type JobsSettings } from './jobs.ts'
export { jobsLimits } from './limits.ts'
