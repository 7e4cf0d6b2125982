/**
 * Observability: what happened, told to people (log lines) and to machines (metrics).
 *
 * Owns    the log, the table of metrics, one function per event.
 * Imports nothing.
 * Always  a prompt, a reply or a secret is in neither; an event is told in one place, so log and counter agree.
 */
export { createLog, type Log } from './log.ts'
export { type MetricName, Metrics, metricsTable } from './metrics.ts'
export { type PoolEvents, poolEvents } from './pool-events.ts'
