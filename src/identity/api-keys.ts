import { hash } from 'node:crypto'
import { PoolError, type Refusal } from '#protocol'
import type { Runtime } from '#runtime'
import { BatchLoader, type Database, databaseError } from '#storage'
import { ChangeFeed, changedSince, revisionOf } from './change-feed.ts'
import { identityLimits } from './limits.ts'

/** Who asks, and what it may. */
export interface ApiKey {
  readonly id: string
  readonly name: string
  /** Milliseconds since the epoch; null: never. */
  readonly expiresAt: number | null
  /** Names of models; null: all. */
  readonly models: readonly string[] | null
  /** Null: no limit. */
  readonly requestsPerMinute: number | null
  /** Share of the pool when it is full; 1 is usual. */
  readonly weight: number
}

/** A key as it is listed: everything but the secret. */
export interface ApiKeyRecord extends ApiKey {
  readonly createdAt: number
  readonly revokedAt: number | null
}

export interface NewApiKey {
  readonly name: string
  readonly expiresAt?: number | null
  readonly models?: readonly string[] | null
  readonly requestsPerMinute?: number | null
  readonly weight?: number
}

interface Row extends ApiKeyRecord {
  /** Hex sha256 of the key. */
  readonly keyHash: string
  readonly revision: bigint
}

const prefix = 'sk-lichen-'

/** 32 random bytes, base64url, behind a prefix that secret scanners can know. */
const apiKeyPattern = /^sk-lichen-[A-Za-z0-9_-]{43}$/

const columns = `id, name, encode(key_hash, 'hex') as "keyHash", created_at as "createdAt", expires_at as "expiresAt",
  revoked_at as "revokedAt", models, requests_per_minute as "requestsPerMinute", weight,
  ${revisionOf('api_keys')}`

const sha256Hex = (text: string) => hash('sha256', text, 'hex')

const invalid: Refusal = {
  code: 'invalid_api_key',
  message: 'The API key is not known here.',
  fix: 'Check it for missing characters, or make one with `lichen keys create NAME`.',
}

/** API keys: made, listed, revoked, and recognised from memory. */
export class ApiKeys implements Disposable {
  readonly #database: Database
  readonly #runtime: Runtime
  readonly #loader: BatchLoader<Row>
  readonly #feed: ChangeFeed<Row>
  /** By hash. A look-up by the hash of what was presented tells nothing about the keys that exist. */
  readonly #known = new Map<string, Row>()

  constructor(database: Database, runtime: Runtime) {
    this.#database = database
    this.#runtime = runtime
    this.#loader = new BatchLoader((hashes) => this.#load(hashes))
    this.#feed = new ChangeFeed({
      database,
      runtime,
      channel: 'lichen_api_keys',
      read: (since) => database.sql<Row[]>`
        select ${database.sql.unsafe(columns)} from api_keys
         where ${changedSince(database.sql, 'api_keys', since)}
         order by changed_at limit ${identityLimits.changesMax}`,
      onChange: (row) => this.#remember(row),
    })
  }

  /** The key itself is in the answer and nowhere else. */
  async create(wish: NewApiKey): Promise<ApiKeyRecord & { readonly key: string }> {
    const key = prefix + this.#runtime.randomBytes(32).toString('base64url')
    const { name, expiresAt = null, models = null, requestsPerMinute = null, weight = 1 } = wish
    const id = this.#runtime.uuid()
    const createdAt = this.#runtime.now()
    try {
      await this.#database.sql`
        insert into api_keys (id, name, key_hash, created_at, expires_at, models, requests_per_minute, weight)
        values (${id}, ${name}, decode(${sha256Hex(key)}, 'hex'), ${createdAt}, ${expiresAt},
                ${models as string[] | null}, ${requestsPerMinute}, ${weight})`
    } catch (error) {
      throw databaseError(error)
    }
    return { id, key, name, createdAt, expiresAt, revokedAt: null, models, requestsPerMinute, weight }
  }

  /** Oldest first, revoked ones included; the next page begins `after` the last id of this one. */
  async list(page: { readonly after?: string; readonly limit?: number } = {}): Promise<ApiKeyRecord[]> {
    const { sql } = this.#database
    const limit = Math.min(page.limit ?? 100, identityLimits.pageRowsMax)
    try {
      const rows = await sql<Row[]>`
        select ${sql.unsafe(columns)} from api_keys
         where id > ${page.after ?? '00000000-0000-0000-0000-000000000000'} order by id limit ${limit}`
      return rows.map(toRecord)
    } catch (error) {
      throw databaseError(error)
    }
  }

  /** At once here, within a second on other replicas; revoking again changes nothing. @throws PoolError not_found. */
  async revoke(id: string): Promise<ApiKeyRecord> {
    const { sql } = this.#database
    try {
      const [row] = await sql<Row[]>`
        update api_keys set revoked_at = coalesce(revoked_at, ${this.#runtime.now()}) where id::text = ${id}
        returning ${sql.unsafe(columns)}`
      if (!row) throw new PoolError('not_found', `There is no API key ${id}.`, 'See `lichen keys ls`.')
      this.#remember(row)
      return toRecord(row)
    } catch (error) {
      throw databaseError(error)
    }
  }

  /** Answers at once for a key seen before; else asks the database, many at a time. */
  authenticate(key: string): ApiKey | Refusal | Promise<ApiKey | Refusal> {
    if (!apiKeyPattern.test(key)) return invalid
    const keyHash = sha256Hex(key)
    const known = this.#known.get(keyHash)
    if (known) return judge(known, this.#runtime.now())
    return this.#loader.get(keyHash).then((row) => (row ? judge(row, this.#runtime.now()) : invalid))
  }

  async #load(hashes: readonly string[]): Promise<ReadonlyMap<string, Row>> {
    const { sql } = this.#database
    const rows = await sql<Row[]>`
      select ${sql.unsafe(columns)} from api_keys
       where key_hash in (select decode(h, 'hex') from unnest(${hashes as string[]}::text[]) h)`
    for (const row of rows) this.#remember(row)
    return new Map(rows.map((row) => [row.keyHash, row]))
  }

  /** A look-up and a change may arrive in either order; the later state stays. */
  #remember(row: Row): void {
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

/** Decides; touches no clock and no table. */
function judge(key: Row, nowMs: number): ApiKey | Refusal {
  if (key.revokedAt !== null) {
    return { code: 'revoked_api_key', message: 'This API key was revoked.', fix: 'Ask the pool’s owner for another.' }
  }
  if (key.expiresAt !== null && key.expiresAt <= nowMs) {
    return { code: 'expired_api_key', message: 'This API key has expired.', fix: 'Ask the pool’s owner for another.' }
  }
  return key
}

function toRecord({ keyHash: _hash, revision: _revision, ...record }: Row): ApiKeyRecord {
  return record
}
