/**
 * Identity: who speaks. The pool's own keys, API keys, operators, invites, worker keys.
 *
 * Owns    tables api_keys, operators, invites, worker_keys, worker_key_acts; the key files of a pool.
 * Imports storage, crypto, protocol, runtime.
 * Always  a secret is stored as its hash only, a revoked key stops within a second on every replica, and every act on a
 *         worker's key is recorded: who and when.
 */
export type { ApiKey, ApiKeyRecord } from './api-keys.ts'
export { claimDatabase } from './claim-database.ts'
export { Identity } from './identity.ts'
export { encodeInvite, type Invite, parseInvite } from './invite-text.ts'
export { loadPoolIdentity, type PoolIdentity } from './pool-identity.ts'
export type { WorkerAct, WorkerRecord } from './worker-records.ts'
