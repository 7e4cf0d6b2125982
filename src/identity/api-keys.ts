import { hash } from 'node:crypto'
import { PoolError, type Refusal } from '#protocol'
import type { Runtime } from '#runtime'
import { BatchLoader, type Database, fromDatabase, type Tx } from '#storage'
import {
  type ApiKey,
  type ApiKeyChange,
  type ApiKeyRecord,
  type ApiKeyRow,
  apiKeyColumns,
  apiKeyTables,
  type NewApiKey,
  toApiKeyRecord,
} from './api-key-records.ts'
import { ChangeFeed, changedSince } from './change-feed.ts'
import { identityLimits } from './limits.ts'
import { assertMayActOn, whyNotKeyRole } from './may-act-on.ts'
import { checkName } from './owner-name.ts'
import { recordAct } from './record-act.ts'
import type { Actor, Role } from './roles.ts'
import { findUser, firstOwner, isUuid } from './user-records.ts'

const prefix = 'sk-lichen-'

/** 32 random bytes, base64url, behind a prefix that secret scanners can know. */
const apiKeyPattern = /^sk-lichen-[A-Za-z0-9_-]{43}$/

const sha256Hex = (text: string) => hash('sha256', text, 'hex')

const invalid: Refusal = {
  code: 'invalid_api_key',
  message: 'The API key is not known here.',
  fix: 'Check it for missing characters, or make one with `lichen keys create NAME`.',
}

/** What a key that nobody limited may. */
const unlimited = {
  role: 'user',
  expiresAt: null,
  models: null,
  requestsPerMinute: null,
  tokensPerMinute: null,
  budgetTotal: null,
  budgetPerDay: null,
  weight: 1,
  payerSignature: 'optional',
  assurance: null,
  privacy: 'standard',
  forwarding: true,
  requiredWorkers: null,
} as const satisfies Required<ApiKeyChange>

/** API keys: made, listed, changed, revoked, and recognised from memory. */
export class ApiKeys implements Disposable {
  readonly #database: Database
  readonly #runtime: Runtime
  readonly #loader: BatchLoader<ApiKeyRow>
  readonly #feed: ChangeFeed<ApiKeyRow>
  /** By hash. A look-up by the hash of what was presented tells nothing about the keys that exist. */
  readonly #known = new Map<string, ApiKeyRow>()

  constructor(database: Database, runtime: Runtime) {
    this.#database = database
    this.#runtime = runtime
    this.#loader = new BatchLoader((hashes) => this.#load(hashes))
    this.#feed = new ChangeFeed({
      database,
      runtime,
      channel: 'lichen_api_keys',
      read: (since) => database.sql<ApiKeyRow[]>`
        select ${database.sql.unsafe(apiKeyColumns)} from ${database.sql.unsafe(apiKeyTables)}
         where ${changedSince(database.sql, 'k', since)}
         order by k.changed_at limit ${identityLimits.changesMax}`,
      onChange: (row) => this.#remember(row),
    })
  }

  async create(wish: NewApiKey, by: Actor): Promise<ApiKeyRecord & { readonly key: string }> {
    const name = checkName(wish.name, 'An API key', 'name')
    const key = prefix + this.#runtime.randomBytes(32).toString('base64url')
    const row = await this.#database.transaction(async (tx) => {
      const named = wish.user ?? by.userId
      const user = named ? await findUser(tx, named) : await firstOwner(tx)
      const may = merged(unlimited, wish)
      refuseKey(by, user, may.role)
      if (user.disabledAt !== null) throw disabled(user.name)
      const identified = { id: this.#runtime.uuid(), userId: user.id, name, keyHash: sha256Hex(key) }
      const made = await insertKey(tx, { ...identified, ...may, createdAt: this.#runtime.now() })
      await recordAct(tx, by.actor, { action: 'key.create', subject: `key:${made.id}`, details: detailsOf(made) })
      return made
    })
    this.#remember(row)
    return { ...toApiKeyRecord(row), key }
  }

  /** Oldest first, revoked ones included; the next page begins `after` the last id of this one. */
  async list(page: ApiKeyPage = {}): Promise<ApiKeyRecord[]> {
    const { sql } = this.#database
    const limit = Math.min(page.limit ?? 100, identityLimits.pageRowsMax)
    const user = page.user === undefined ? null : (await fromDatabase(findUser(sql, page.user))).id
    const rows = await fromDatabase(sql<ApiKeyRow[]>`
      select ${sql.unsafe(apiKeyColumns)} from ${sql.unsafe(apiKeyTables)}
       where k.id > ${page.after ?? '00000000-0000-0000-0000-000000000000'}
         and (${user}::uuid is null or k.user_id = ${user}::uuid)
       order by k.id limit ${limit}`)
    return rows.map(toApiKeyRecord)
  }

  /** At once here, within a second on other replicas. */
  async change(id: string, change: ApiKeyChange, by: Actor): Promise<ApiKeyRecord> {
    return this.#act(id, async (tx, key) => {
      const user = await findUser(tx, key.userId)
      if (key.revokedAt !== null) throw new PoolError('conflict', 'This API key was revoked.', 'Make another.')
      const { role } = change
      refuseKey(by, user, role ?? key.role)
      const row = await updateKey(tx, id, merged(key, change), role)
      await recordAct(tx, by.actor, { action: 'key.set', subject: `key:${id}`, details: detailsOf(row) })
      return row
    })
  }

  /** At once here, within a second on other replicas; revoking again changes nothing. */
  async revoke(id: string, by: Actor): Promise<ApiKeyRecord> {
    return this.#act(id, async (tx, key) => {
      assertMayActOn(by, key.role)
      if (key.revokedAt !== null) return key
      const [row] = await tx<ApiKeyRow[]>`
        with k as (update api_keys set revoked_at = ${this.#runtime.now()} where id = ${id} returning *)
        select ${tx.unsafe(apiKeyColumns)} from k join users u on u.id = k.user_id`
      await recordAct(tx, by.actor, { action: 'key.revoke', subject: `key:${id}`, details: { name: key.name } })
      return row ?? key
    })
  }

  /** One transaction on one key, remembered when it is through. @throws PoolError not_found. */
  async #act(id: string, work: (tx: Tx, key: ApiKeyRow) => Promise<ApiKeyRow>): Promise<ApiKeyRecord> {
    const row = await this.#database.transaction(async (tx) => {
      const [key] = isUuid(id)
        ? await tx<ApiKeyRow[]>`
            select ${tx.unsafe(apiKeyColumns)} from ${tx.unsafe(apiKeyTables)} where k.id = ${id} for update of k`
        : []
      if (!key) throw new PoolError('not_found', `There is no API key ${id}.`, 'See `lichen keys ls`.')
      return work(tx, key)
    })
    this.#remember(row)
    return toApiKeyRecord(row)
  }

  /** Answers at once for a key seen before; else asks the database, many at a time. */
  authenticate(key: string): ApiKey | Refusal | Promise<ApiKey | Refusal> {
    if (!apiKeyPattern.test(key)) return invalid
    const keyHash = sha256Hex(key)
    const known = this.#known.get(keyHash)
    if (known) return judge(known, this.#runtime.now())
    return this.#loader.get(keyHash).then((row) => (row ? judge(row, this.#runtime.now()) : invalid))
  }

  /** The key with this id, if it is good now. Asked of the database each time: tokens are not remembered. */
  async byId(id: string): Promise<ApiKey | Refusal> {
    const { sql } = this.#database
    const rows = isUuid(id)
      ? await fromDatabase(sql<ApiKeyRow[]>`
          select ${sql.unsafe(apiKeyColumns)} from ${sql.unsafe(apiKeyTables)} where k.id = ${id}`)
      : []
    const [row] = rows
    return row ? judge(row, this.#runtime.now()) : invalid
  }

  /** The user changed: this process knows it at once, before the change feed tells it. */
  async userChanged(userId: string): Promise<void> {
    const { sql } = this.#database
    const rows = await sql<ApiKeyRow[]>`
      select ${sql.unsafe(apiKeyColumns)} from ${sql.unsafe(apiKeyTables)} where k.user_id = ${userId}
       order by k.changed_at desc limit ${identityLimits.changesMax}`
    for (const row of rows) this.#remember(row)
  }

  async #load(hashes: readonly string[]): Promise<ReadonlyMap<string, ApiKeyRow>> {
    const { sql } = this.#database
    const rows = await sql<ApiKeyRow[]>`
      select ${sql.unsafe(apiKeyColumns)} from ${sql.unsafe(apiKeyTables)}
       where k.key_hash in (select decode(h, 'hex') from unnest(${hashes as string[]}::text[]) h)`
    for (const row of rows) this.#remember(row)
    return new Map(rows.map((row) => [row.keyHash, row]))
  }

  /** A look-up and a change may arrive in either order; the later state stays. */
  #remember(row: ApiKeyRow): void {
    if ((this.#known.get(row.keyHash)?.revision ?? -1n) > row.revision) return
    this.#known.set(row.keyHash, row)
    if (this.#known.size <= identityLimits.cachedKeysMax) return
    const oldest = this.#known.keys().next()
    if (!oldest.done) this.#known.delete(oldest.value)
  }

  [Symbol.dispose](): void {
    this.#feed[Symbol.dispose]()
  }
}

export interface ApiKeyPage {
  readonly after?: string
  readonly limit?: number
  /** Only keys of this user: id or name. */
  readonly user?: string | undefined
}

type Limits = Required<ApiKeyChange>

/** What a key may after a change: members that were left out stay. */
function merged(before: Limits, change: ApiKeyChange): Limits {
  const pick = <K extends keyof ApiKeyChange>(name: K) => (change[name] === undefined ? before[name] : change[name])
  return {
    role: change.role ?? before.role,
    expiresAt: pick('expiresAt') ?? null,
    models: pick('models') ?? null,
    requestsPerMinute: pick('requestsPerMinute') ?? null,
    tokensPerMinute: pick('tokensPerMinute') ?? null,
    budgetTotal: pick('budgetTotal') ?? null,
    budgetPerDay: pick('budgetPerDay') ?? null,
    weight: change.weight ?? before.weight,
    payerSignature: change.payerSignature ?? before.payerSignature,
    assurance: pick('assurance') ?? null,
    privacy: change.privacy ?? before.privacy,
    forwarding: change.forwarding ?? before.forwarding,
    requiredWorkers: pick('requiredWorkers') ?? null,
  }
}

/** @throws PoolError role_required, conflict. */
function refuseKey(by: Actor, user: { readonly name: string; readonly role: Role }, role: Role): void {
  assertMayActOn(by, user.role, role)
  const refusal = whyNotKeyRole(user, role)
  if (refusal) throw PoolError.from(refusal)
}

const disabled = (name: string) =>
  new PoolError('conflict', `The user ${name} is disabled.`, `Enable it first: \`lichen users enable ${name}\`.`)

interface Made extends Limits {
  readonly id: string
  readonly userId: string
  readonly name: string
  readonly keyHash: string
  readonly createdAt: number
}

async function insertKey(tx: Tx, key: Made): Promise<ApiKeyRow> {
  const [row] = await tx<ApiKeyRow[]>`
    with k as (
      insert into api_keys (id, user_id, name, key_hash, role, created_at, expires_at, models, weight,
        requests_per_minute, tokens_per_minute, budget_total, budget_per_day, payer_signature, assurance, privacy,
        forwarding, required_workers)
      values (${key.id}, ${key.userId}, ${key.name}, decode(${key.keyHash}, 'hex'), ${key.role}, ${key.createdAt},
        ${key.expiresAt}, ${key.models as string[] | null}, ${key.weight}, ${key.requestsPerMinute},
        ${key.tokensPerMinute}, ${key.budgetTotal}, ${key.budgetPerDay}, ${key.payerSignature}, ${key.assurance},
        ${key.privacy}, ${key.forwarding}, ${key.requiredWorkers})
      returning *)
    select ${tx.unsafe(apiKeyColumns)} from k join users u on u.id = k.user_id`
  if (!row) throw new Error('an inserted API key is not there')
  return row
}

/** `role`: only when it is to change; what is read is the lesser of two. */
async function updateKey(tx: Tx, id: string, key: Limits, role: Role | undefined): Promise<ApiKeyRow> {
  const [row] = await tx<ApiKeyRow[]>`
    with k as (
      update api_keys set role = coalesce(${role ?? null}, role), expires_at = ${key.expiresAt},
        models = ${key.models as string[] | null}, weight = ${key.weight},
        requests_per_minute = ${key.requestsPerMinute}, tokens_per_minute = ${key.tokensPerMinute},
        budget_total = ${key.budgetTotal}, budget_per_day = ${key.budgetPerDay}, payer_signature = ${key.payerSignature},
        assurance = ${key.assurance}, privacy = ${key.privacy}, forwarding = ${key.forwarding},
        required_workers = ${key.requiredWorkers}
       where id = ${id} returning *)
    select ${tx.unsafe(apiKeyColumns)} from k join users u on u.id = k.user_id`
  if (!row) throw new Error(`API key ${id} was locked and is not there`)
  return row
}

/** What the record says of a key that was made or changed: its hash, by which it is known, and its own role. */
function detailsOf(key: ApiKeyRow) {
  return {
    name: key.name,
    user: key.user,
    key_hash: key.keyHash,
    role: key.ownRole,
    expires_at: key.expiresAt,
    models: key.models && briefly(key.models),
    weight: key.weight,
    requests_per_minute: key.requestsPerMinute,
    tokens_per_minute: key.tokensPerMinute,
    budget_total: key.budgetTotal?.toString() ?? null,
    budget_per_day: key.budgetPerDay?.toString() ?? null,
    payer_signature: key.payerSignature,
    assurance: key.assurance,
    privacy: key.privacy,
    forwarding: key.forwarding,
    required_workers: key.requiredWorkers,
  }
}

/** An act holds 16 KiB; 256 names of 200 characters do not fit. */
const briefly = (names: readonly string[]): readonly string[] =>
  names.length <= 32 ? names : [...names.slice(0, 32), `and ${names.length - 32} more`]

/** Decides; touches no clock and no table. */
function judge(key: ApiKeyRow, nowMs: number): ApiKey | Refusal {
  const askAnother = 'Ask the pool’s owner for another.'
  if (key.revokedAt !== null) return { code: 'revoked_api_key', message: 'This API key was revoked.', fix: askAnother }
  if (key.userDisabledAt !== null) {
    return { code: 'user_disabled', message: 'The user of this API key is disabled.', fix: 'Ask the pool’s owner.' }
  }
  if (key.expiresAt !== null && key.expiresAt <= nowMs) {
    return { code: 'expired_api_key', message: 'This API key has expired.', fix: askAnother }
  }
  return key
}
