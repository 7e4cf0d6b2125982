/**
 * Observability: what happened, told to people (log lines) and to machines (metrics, table events).
 *
 * Owns    the log, the table of metrics, one function per event, the journal of events and its table.
 * Imports runtime, storage.
 * Always  a prompt, a reply or a secret is in neither; an event is told in one place, so log and counter agree.
 */
export { EventJournal, type EventQuery, eventTypes, type PoolEvent } from './event-journal.ts'
export { observabilityLimits } from './limits.ts'
export { createLog, type Log } from './log.ts'
export { type MetricName, Metrics, metricsTable } from './metrics.ts'
export { type PoolEvents, poolEvents } from './pool-events.ts'
export { type TroubleLog, troubleLog } from './trouble-log.ts'
