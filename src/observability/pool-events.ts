import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { type After, OnceThenCounts } from './once-then-counts.ts'

/** A worker as events name it. */
interface WorkerNames {
  readonly id: string
  readonly operator: string
  readonly agent: string
  readonly standing: string
}

/** Which attempt of which job. */
interface AttemptNames {
  readonly jobId: string
  readonly choice: number
  readonly attempt: number
  readonly workerId: string
}

/**
 * Everything that happens in a pool, one function for each: the counter and the log line are written together. Rooms
 * state the shape of their events; this object has them all. What happens for each request is logged at `debug`.
 */
export function poolEvents(log: Log, metrics: Metrics, after: After) {
  const turnedAway = new OnceThenCounts(after, { code: 'several', source: 'several' }, (kind, times) =>
    log.info({ ...kind, times }, 'turned away at the door'),
  )
  return {
    /** An HTTP request ended. */
    ended(route: string, status: number, ms: number): void {
      metrics.add('lichen_http_requests_total', { route, status })
      metrics.observe('lichen_http_request_seconds', { route }, ms / 1_000)
      log.debug({ route, status, ms: Math.round(ms) }, 'request ended')
    },

    connected({ id, operator, agent, standing }: WorkerNames): void {
      metrics.add('lichen_worker_sessions_total', { outcome: 'opened' })
      log.info({ worker: id, operator, agent, standing }, 'worker connected')
    },
    left({ id, operator }: WorkerNames, reason: string): void {
      metrics.add('lichen_worker_sessions_total', { outcome: 'ended' })
      log.info({ worker: id, operator, reason }, 'worker left')
    },
    /** Somebody decided about a worker's key, here or at another replica. */
    keyDecided({ id, operator, standing }: Omit<WorkerNames, 'agent'>): void {
      log.info({ worker: id, operator, standing }, `worker ${standing}`)
    },
    /** A second session of a key. */
    contested(id: string, outcome: 'refused' | 'replaced'): void {
      metrics.add('lichen_worker_sessions_total', { outcome: `contested_${outcome}` })
      log.warn({ worker: id, outcome }, 'second session of a worker')
    },
    violated(id: string, violation: { readonly message: string }): void {
      metrics.add('lichen_worker_faults_total', { fault: 'protocol' })
      log.warn({ worker: id, violation: violation.message }, 'worker broke the protocol')
    },
    /** A worker gets no work for a while, for failing too often; or all of it again. */
    circuit(change: { workerId: string; event: string; why: string | undefined; pauseMs: number }): void {
      const { event, workerId, why, pauseMs } = change
      metrics.add('lichen_circuits_total', { event })
      if (why === undefined) log.info({ worker: workerId }, 'circuit of a worker closed')
      else log.warn({ worker: workerId, why, pauseMs }, 'circuit of a worker opened: it gets no work for a while')
    },
    /** A worker is offered a model that a tier lacks, has fetched it, refused it, or is not wanted for it any more. */
    modelOffer(event: { workerId: string; model: string; outcome: string; why: string | undefined }): void {
      const { workerId: worker, model, outcome, why } = event
      metrics.add('lichen_model_offers_total', { outcome })
      log[outcome === 'refused' ? 'warn' : 'info']({ worker, model, why }, `model ${outcome}`)
    },
    /** A model file of the library is not what it was. */
    modelChanged({ digest }: { digest: string }): void {
      log.error({ digest }, 'a model file of the library was changed: it is handed out no more')
    },
    /** A check is over. */
    checkEnded(check: { checkId: string; workerId: string; model: string; outcome: string; why: string | null }): void {
      metrics.add('lichen_checks_total', { outcome: check.outcome })
      log.info(
        { check: check.checkId, worker: check.workerId, model: check.model, outcome: check.outcome, why: check.why },
        'check ended',
      )
    },
    /** What checks say of a worker changed. */
    standingMoved(moved: { workerId: string; model: string; duty: string; before: string; after: string }): void {
      log.debug(
        { worker: moved.workerId, model: moved.model, duty: moved.duty, before: moved.before, after: moved.after },
        'standing of a worker',
      )
    },
    /** Work in the background met something it cannot mend. */
    problem(error: unknown, what: string): void {
      log.error({ err: error }, `${what}: in trouble, tried again`)
    },
    /** A socket at the workers' door that came to nothing. */
    turnedAway({ code, source }: { readonly code: string; readonly source: string }): void {
      metrics.add('lichen_door_refusals_total', { code })
      turnedAway.happened({ code, source })
    },

    jobAccepted(event: { jobId: string; keyId: string; kind: string; model: string; choices: number }): void {
      log.debug(event, 'job accepted')
    },
    jobRefused(event: { code: string; keyId: string; kind: string }): void {
      metrics.add('lichen_jobs_refused_total', { code: event.code })
      log.debug(event, 'job refused')
    },
    runLeased(event: AttemptNames & { waitedMs: number; resumed: number }): void {
      metrics.observe('lichen_job_wait_seconds', {}, event.waitedMs / 1_000)
      log.debug(event, 'run leased')
    },
    firstToken(event: AttemptNames & { model: string; ms: number }): void {
      metrics.observe('lichen_first_token_seconds', {}, event.ms / 1_000)
      log.debug(event, 'first token')
    },
    runMoved(event: AttemptNames & { how: 'retry' | 'takeover'; code: string; pieces: number }): void {
      metrics.add('lichen_runs_moved_total', { how: event.how })
      log.info(event, 'run moves to another worker')
    },
    /** One of those who computed an answer side by side gave another. */
    dissented(event: AttemptNames & { model: string; exact: boolean; by: readonly string[] }): void {
      metrics.add('lichen_worker_faults_total', { fault: 'dissent' })
      log.warn(event, 'worker gave another answer than those beside it')
    },
    workerFault(
      event: AttemptNames & {
        fault: string
        claim: { promptTokens: number; completionTokens: number }
        why: string | undefined
      },
    ): void {
      metrics.add('lichen_worker_faults_total', { fault: event.fault })
      log.warn(
        event,
        event.fault === 'unsigned' ? 'worker did not vouch for what it sent' : 'worker claimed what cannot be',
      )
    },
    jobEnded(event: {
      jobId: string
      kind: string
      state: string
      code: string | null
      promptTokens: number
      completionTokens: number
      ms: number
    }): void {
      metrics.add('lichen_jobs_total', { kind: event.kind, state: event.state })
      metrics.observe('lichen_job_seconds', { kind: event.kind }, event.ms / 1_000)
      metrics.add('lichen_tokens_total', { direction: 'prompt' }, event.promptTokens)
      metrics.add('lichen_tokens_total', { direction: 'completion' }, event.completionTokens)
      log[event.state === 'failed' ? 'warn' : 'debug'](event, 'job ended')
    },
    jobsInterrupted(event: { jobs: number }): void {
      metrics.add('lichen_jobs_total', { kind: 'any', state: 'interrupted' }, event.jobs)
      if (event.jobs > 0) log.warn(event, 'jobs of a pool that died were marked interrupted')
    },
    settleDelayed(event: { jobId: string; lost: boolean }): void {
      log[event.lost ? 'error' : 'warn'](event, 'outcome waits for the database')
    },
    holdsReleased(event: { holds: number }): void {
      log.warn(event, 'holds of jobs that were cut off are released')
    },
    settleRefused(event: { jobId: string; stage: string; code: string }): void {
      log.warn(event, 'job had ended otherwise')
    },
    jobBroke({ jobId, error }: { jobId: string | null; error: unknown }): void {
      log.error({ jobId, err: error }, 'our own mistake ended a job')
    },

    flushed(event: { operations: number; ms: number; retries: number; error?: unknown }): void {
      metrics.observe('lichen_database_flush_seconds', {}, event.ms / 1_000)
      metrics.add('lichen_database_flush_operations_total', {}, event.operations)
      metrics.add('lichen_database_flush_retries_total', {}, event.retries)
      if (event.error === undefined) return
      metrics.add('lichen_database_flush_failures_total', {})
      log.error({ err: event.error, operations: event.operations }, 'group commit given up')
    },
    databaseReady(event: { pid: number; ms: number }): void {
      log.debug({ pid: event.pid, ms: Math.round(event.ms) }, 'PostgreSQL is ready')
    },
    databaseDied(event: { how: string; retryInMs: number }): void {
      metrics.add('lichen_database_restarts_total', {})
      log.error(event, 'PostgreSQL ended; starting it again')
    },
    databaseSaid(line: string): void {
      log.debug({ line }, 'postgres')
    },
  }
}

export type PoolEvents = ReturnType<typeof poolEvents>
