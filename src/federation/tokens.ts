import type { Identity } from '#crypto'
import { insertAct } from '#log'
import { PoolError, type PoolId, parsePoolId, type Refusal } from '#protocol'
import type { Runtime } from '#runtime'
import { type Database, fromDatabase, type Sql } from '#storage'
import { federationLimits } from './limits.ts'
import type { Peers } from './peers.ts'
import { findPeer } from './request-rows.ts'
import { claimsOf, issueToken, looksLikeToken, verifyToken } from './token.ts'

/** Facts by which a pool says that it has revoked one of its tokens, under the token's id. */
export const tokenFactKind = 'token'

/** A pool whose tokens count here, and as what. */
export interface TokenPeer {
  readonly peerId: string
  /** API key here whose models, limits and account its users share. */
  readonly apiKeyId: string
  readonly allowedAt: number
  readonly allowedBy: string
}

interface Options {
  readonly database: Database
  readonly runtime: Runtime
  readonly poolId: PoolId
  readonly identity: Identity
  readonly peers: Pick<Peers, 'get'>
  /** Whether federation is off: then no other pool's word counts. */
  readonly off: () => Promise<boolean>
  /** After the commit: bonded pools should hear of it soon. */
  readonly onRevoked?: () => void
}

/** A token that counts no more, whatever its signature. */
export interface RevokedToken {
  readonly issuer: PoolId
  /** Its `jti`. */
  readonly id: string
  /** When it would have ended, at the latest. Milliseconds since 1970. */
  readonly until: number
}

const columns = (sql: Sql) =>
  sql`peer_id as "peerId", api_key_id as "apiKeyId", allowed_at as "allowedAt", allowed_by as "allowedBy"`

const refused = (why: string): Refusal => ({
  code: 'invalid_api_key',
  message: `This token is not taken here: ${why}.`,
  fix: 'Ask the pool that issued it for a new one, and the operator here whether its tokens count.',
})

/** Tokens for users: this pool's word about its own, and that of bonded pools whose operator here said what it is worth. */
export class Tokens {
  readonly #o: Options

  constructor(options: Options) {
    this.#o = options
  }

  /** A token for one pool about the holder of an API key. @throws PoolError invalid_request. */
  async issue(
    wish: { readonly apiKeyId: string; readonly audience: string; readonly lifeMs: number },
    actor: string,
  ): Promise<{ readonly token: string; readonly id: string; readonly audience: PoolId; readonly expiresAt: number }> {
    const { database, runtime, poolId, identity } = this.#o
    const audience = parsePoolId(wish.audience) ?? (await findPeer(database.sql, wish.audience))
    if (!audience) throw new PoolError('not_found', `There is no pool ${wish.audience} here.`, 'Give its whole id.')
    if (wish.lifeMs > federationLimits.tokenLifeMsMax)
      throw new PoolError('invalid_request', 'A token lives for a day at most.', 'Issue a new one then.')
    const issuedAt = Math.floor(runtime.now() / 1_000)
    const expiresAt = issuedAt + Math.floor(wish.lifeMs / 1_000)
    const id = runtime.uuid()
    const claims = { issuer: poolId, audience, subject: wish.apiKeyId, issuedAt, expiresAt, id }
    const details = { audience, subject: wish.apiKeyId, expires_at: expiresAt }
    await database.transaction(async (tx) => {
      await insertAct(tx, { actor, action: 'token.issue', subject: `token:${id}`, details })
    })
    return { token: issueToken(identity, claims), id, audience, expiresAt: expiresAt * 1_000 }
  }

  /** The API key that a token stands for now. An own one: the key it names; another pool's: the one that was set for that pool. */
  async apiKeyOf(token: string): Promise<{ readonly apiKeyId: string } | Refusal> {
    const { poolId, identity, peers, runtime, off } = this.#o
    const verified = verifyToken(token, poolId, runtime.now(), (issuer) => {
      if (issuer === poolId) return identity.publicKey
      const peer = peers.get(issuer)
      return peer && !peer.revoked && peer.trust >= 3 ? peer.key : undefined
    })
    if (!verified.ok) return refused(verified.code)
    const { issuer, subject, id } = verified.claims
    if (await this.#isRevoked(issuer, id)) return refused('revoked')
    if (issuer === poolId) return { apiKeyId: subject }
    if (await off()) return refused('federation_off')
    const row = await this.#allowed(issuer)
    return row ? { apiKeyId: row.apiKeyId } : refused('unknown_issuer')
  }

  /**
   * One token counts no more: here with the next request, and, where it is an own one, at bonded pools as soon as they hear of it.
   * `token`: the token, or its id and `issuer` (this pool unless given). @throws PoolError invalid_request, not_found, conflict.
   */
  async revoke(
    wish: { readonly token: string; readonly issuer?: string | undefined },
    actor: string,
  ): Promise<RevokedToken> {
    const { database, runtime, poolId } = this.#o
    const { issuer: named, id } = readNames(wish)
    const issuer = named === undefined ? poolId : (parsePoolId(named) ?? (await findPeer(database.sql, named)))
    if (!issuer) throw new PoolError('not_found', `There is no pool ${named} here.`, 'See `lichen fed ls`.')
    if (issuer === poolId && !ownId.test(id)) throw notOurs(id)
    const now = runtime.now()
    const until = now + federationLimits.tokenLifeMsMax + federationLimits.tokenAheadMsMax
    const revoked = await database.transaction(async (tx) => {
      await tx`lock table revoked_tokens in share row exclusive mode`
      await tx`delete from revoked_tokens where until < ${now}::timestamptz`
      const [known] = await tx<RevokedToken[]>`
        select issuer, id, until from revoked_tokens where issuer = ${issuer} and id = ${id}`
      if (known) return known
      const [row] = await tx<RevokedToken[]>`
        insert into revoked_tokens (issuer, id, until, revoked_at, revoked_by)
        select ${issuer}, ${id}, ${until}::timestamptz, ${now}::timestamptz, ${actor}
         where (select count(*) from revoked_tokens) < ${federationLimits.revokedTokensMax}
        returning issuer, id, until`
      if (!row) {
        const fix = 'Revoke the API key, or `lichen fed tokens disallow` its pool.'
        throw new PoolError('conflict', 'So many tokens are revoked that no more are kept.', fix)
      }
      await insertAct(tx, { actor, action: 'token.revoke', subject: `token:${id}`, details: { issuer, until } })
      return row
    })
    this.#o.onRevoked?.()
    return revoked
  }

  /** By an act here, or by the word of its issuer: that only ever takes away. */
  async #isRevoked(issuer: PoolId, id: string): Promise<boolean> {
    const { sql } = this.#o.database
    const [row] = await fromDatabase(sql<{ revoked: boolean }[]>`
      select exists (select from revoked_tokens where issuer = ${issuer} and id = ${id})
          or exists (select from facts where author = ${issuer} and kind = ${tokenFactKind} and name = ${id} and not taken_back)
          as revoked`)
    return row?.revoked !== false
  }

  async #allowed(peerId: PoolId): Promise<TokenPeer | undefined> {
    const { sql } = this.#o.database
    const [row] = await fromDatabase(
      sql<TokenPeer[]>`select ${columns(sql)} from token_peers where peer_id = ${peerId}`,
    )
    return row
  }

  /** From now on tokens of a bonded pool count as this API key; null: no more. @throws PoolError not_found. */
  async allow(peer: string, apiKeyId: string | null, actor: string): Promise<TokenPeer | undefined> {
    const { database, runtime } = this.#o
    const peerId = await findPeer(database.sql, peer)
    if (!peerId) throw new PoolError('not_found', `There is no pool ${peer} here.`, 'See `lichen fed ls`.')
    return database.transaction(async (tx) => {
      await tx`delete from token_peers where peer_id = ${peerId}`
      const details = { peer: peerId, api_key: apiKeyId }
      const action = apiKeyId === null ? 'tokens.disallow' : 'tokens.allow'
      await insertAct(tx, { actor, action, subject: `peer:${peerId}`, details })
      if (apiKeyId === null) return undefined
      const [row] = await tx<TokenPeer[]>`
        insert into token_peers (peer_id, api_key_id, allowed_at, allowed_by)
        select ${peerId}, k.id, ${runtime.now()}::timestamptz, ${actor} from api_keys k where k.id = ${apiKeyId}
        returning ${columns(tx)}`
      if (!row) throw new PoolError('not_found', `There is no API key ${apiKeyId}.`, 'See `lichen keys ls`.')
      return row
    })
  }

  async list(): Promise<TokenPeer[]> {
    const { sql } = this.#o.database
    const rows = await sql<TokenPeer[]>`select ${columns(sql)} from token_peers order by peer_id limit 1000`
    return [...rows]
  }
}

/** Own tokens that were revoked and could still be shown to somebody. */
export async function revokedTokens(sql: Sql, issuer: PoolId, now: number): Promise<readonly RevokedToken[]> {
  const rows = await sql<RevokedToken[]>`
    select issuer, id, until from revoked_tokens where issuer = ${issuer} and until >= ${now}::timestamptz
     order by id limit ${federationLimits.revokedTokensMax}`
  return [...rows]
}

/** As this pool names its tokens: whole, for the beginning of one is that of many. */
const ownId = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const notOurs = (id: string) =>
  new PoolError(
    'invalid_request',
    `No token of this pool is named ${id}: nothing was revoked.`,
    'Give the token, or its whole `jti`; of another pool’s tokens say whose with --issuer.',
  )

function readNames({ token, issuer }: { token: string; issuer?: string | undefined }): {
  issuer: string | undefined
  id: string
} {
  if (!looksLikeToken(token)) {
    if (/^[\x21-\x7e]{1,64}$/.test(token)) return { issuer, id: token }
    throw new PoolError(
      'invalid_request',
      'This is neither a token nor the id of one.',
      'Give the token, or its `jti`.',
    )
  }
  const claims = claimsOf(token)
  if (claims && (issuer === undefined || claims.issuer.startsWith(issuer))) return claims
  throw new PoolError(
    'invalid_request',
    'This token has no id, or another issuer.',
    'Give its `jti` and who issued it.',
  )
}
