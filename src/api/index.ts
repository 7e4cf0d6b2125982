/**
 * API: the pool's HTTP doors. OpenAI's API for clients, administration for the owner, health for machines.
 *
 * Owns    routes, who may use them and how often, the form of answers and refusals, server-sent events, `/openapi.json`.
 * Imports jobs, workers, identity, protocol, runtime. It listens nowhere itself.
 * Always  a refusal has OpenAI's form, a body is parsed strictly before anything reads it, a client that leaves stops
 *         its job, and a slow reader costs bounded memory.
 */

export type { FederationAdmin } from './admin/federation.ts'
export { buildServer } from './build-server.ts'
export type { ApiDeps, Client } from './deps.ts'
export type { FederationDoor } from './federation/federation-routes.ts'
export { JobLender, type LendingBooks } from './federation/lend-job.ts'
export { OfferedModels } from './openai/offered-models.ts'
export type { Origin } from './route.ts'
