/**
 * Identity: who speaks. The pool's own keys, users and their API keys, admin keys, operators, invites, worker keys.
 *
 * Owns    tables users, api_keys, admin_keys, operators, invites, worker_keys, worker_key_acts, blocks; the key files of a pool.
 * Imports log, storage, crypto, protocol, runtime.
 * Always  a secret is stored as its hash only; a revoked key, a disabled user and a changed budget act within a second on
 *         every replica; nobody acts on somebody above them; a pool keeps an owner; every act is recorded: who and when.
 */
export { type AdminKeyRecord, goodAdminKeys } from './admin-keys.ts'
export {
  type ApiKey,
  type ApiKeyChange,
  type ApiKeyRecord,
  payerSignatures,
} from './api-key-records.ts'
export { auditIdentity } from './audit-identity.ts'
export { addressBlocked, type BlockRecord, workerBlocked } from './blocks.ts'
export { claimDatabase } from './claim-database.ts'
export { type Blocked, Identity } from './identity.ts'
export { encodeInvite, type Invite, parseInvite } from './invite-text.ts'
export type { InviteRecord, OperatorRecord } from './invites.ts'
export { identityLimits } from './limits.ts'
export { ownerNameSchema } from './owner-name.ts'
export { loadPoolIdentity, type PoolIdentity } from './pool-identity.ts'
export { type Actor, mayActAs, poolItself, type Role, roles } from './roles.ts'
export type { UserRecord } from './user-records.ts'
export type { WorkerAct, WorkerRecord } from './worker-records.ts'
