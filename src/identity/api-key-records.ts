import type { AssuranceLevel, PrivacyMode } from '#protocol'
import { revisionOf } from './change-feed.ts'
import type { Role } from './roles.ts'

/** Who asks, and what it may. Amounts are micro-credits. */
export interface ApiKey {
  readonly id: string
  readonly name: string
  readonly userId: string
  /** Account in the ledger that pays: `user:<uuid>`. */
  readonly account: string
  /** What it counts as: the lesser of its own role and its user's. */
  readonly role: Role
  /** Milliseconds since the epoch; null: never. */
  readonly expiresAt: number | null
  /** Names of models; null: all. */
  readonly models: readonly string[] | null
  /** Null: no limit; so for all limits below. */
  readonly requestsPerMinute: number | null
  readonly tokensPerMinute: number | null
  /** What it may spend in its life … */
  readonly budgetTotal: bigint | null
  /** … and on one UTC day. */
  readonly budgetPerDay: bigint | null
  /** Share of the pool when it is full; 1 is usual. */
  readonly weight: number
  /** `required`: an order that the pool would sign for the user is refused. */
  readonly payerSignature: PayerSignature
  /** How its answers are checked when a request says nothing; null: the pool's policy. */
  readonly assurance: AssuranceLevel | null
  /** Who may see its prompts when a request says nothing. */
  readonly privacy: PrivacyMode
  /** Whether other pools may compute what it asks for. */
  readonly forwarding: boolean
  /** Workers that compute an answer with the assurance `required`; null: the pool's setting. */
  readonly requiredWorkers: number | null
  /** Raw Ed25519 key the user signs orders with. */
  readonly payerKey: Buffer | null
}

export const payerSignatures = ['optional', 'required'] as const
export type PayerSignature = (typeof payerSignatures)[number]

/** A key as it is listed: everything but the secret. */
export interface ApiKeyRecord extends ApiKey {
  /** The user's name. */
  readonly user: string
  readonly createdAt: number
  readonly revokedAt: number | null
  /** When its user was disabled; the key is refused since. */
  readonly userDisabledAt: number | null
}

/** What may be changed of a key; a member left out stays. */
export interface ApiKeyChange {
  /** At most its user's and that of who gives it. */
  readonly role?: Role
  readonly expiresAt?: number | null
  readonly models?: readonly string[] | null
  readonly requestsPerMinute?: number | null
  readonly tokensPerMinute?: number | null
  readonly budgetTotal?: bigint | null
  readonly budgetPerDay?: bigint | null
  readonly weight?: number
  readonly payerSignature?: PayerSignature
  readonly assurance?: AssuranceLevel | null
  readonly privacy?: PrivacyMode
  readonly forwarding?: boolean
  readonly requiredWorkers?: number | null
}

export interface NewApiKey extends ApiKeyChange {
  readonly name: string
  /** Id or name of its user; that of the key that asks when absent, else the first owner. */
  readonly user?: string | undefined
}

/** A row as read, with what recognising it and following it need. */
export interface ApiKeyRow extends ApiKeyRecord {
  /** Hex sha256 of the key. */
  readonly keyHash: string
  /** Its own, whatever its user's is. */
  readonly ownRole: Role
  readonly revision: bigint
}

/** Select list for {@link ApiKeyRow}, from {@link apiKeyTables}; `k` may also be what an insert or update returns. */
export const apiKeyColumns = `k.id, k.name, encode(k.key_hash, 'hex') as "keyHash", k.user_id as "userId",
  'user:' || k.user_id as account, u.name as user, u.disabled_at as "userDisabledAt", u.payer_key as "payerKey",
  case when role_rank(k.role) < role_rank(u.role) then k.role else u.role end as role, k.role as "ownRole",
  k.created_at as "createdAt", k.expires_at as "expiresAt", k.revoked_at as "revokedAt", k.models, k.weight,
  k.requests_per_minute as "requestsPerMinute", k.tokens_per_minute as "tokensPerMinute",
  k.budget_total as "budgetTotal", k.budget_per_day as "budgetPerDay", k.payer_signature as "payerSignature",
  k.assurance, k.privacy, k.forwarding, k.required_workers as "requiredWorkers",
  ${revisionOf('k')}`

export const apiKeyTables = 'api_keys k join users u on u.id = k.user_id'

export function toApiKeyRecord({
  keyHash: _hash,
  ownRole: _own,
  revision: _revision,
  ...record
}: ApiKeyRow): ApiKeyRecord {
  return record
}
