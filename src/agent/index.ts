/**
 * Agent: the worker program's life.
 *
 * Owns    the worker's keys and membership, its session to the pool and back again, the runs on its engines.
 * Imports workers (codec), engines, artifacts, transport, identity (invites), storage (key files), protocol, crypto, runtime.
 * Always  every wait has a deadline; what the pool dispatched is answered by exactly one `end` or `failed`.
 */
export { followPool, loadMembership, loadWorkerKeys, retireWorkerKeys } from './membership.ts'
export type { ModelTaking } from './model-desk.ts'
export { type AgentEnd, type AgentStatus, runAgent } from './run-agent.ts'
