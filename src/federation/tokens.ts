import type { Identity } from '#crypto'
import { insertAct } from '#log'
import { PoolError, type PoolId, parsePoolId, type Refusal } from '#protocol'
import type { Runtime } from '#runtime'
import { type Database, databaseError, type Sql } from '#storage'
import { federationLimits } from './limits.ts'
import type { Peers } from './peers.ts'
import { findPeer } from './request-rows.ts'
import { issueToken, verifyToken } from './token.ts'

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
    const { issuer, subject } = verified.claims
    if (issuer === poolId) return { apiKeyId: subject }
    if (await off()) return refused('federation_off')
    const row = await this.#allowed(issuer)
    return row ? { apiKeyId: row.apiKeyId } : refused('unknown_issuer')
  }

  async #allowed(peerId: PoolId): Promise<TokenPeer | undefined> {
    const { sql } = this.#o.database
    try {
      const [row] = await sql<TokenPeer[]>`select ${columns(sql)} from token_peers where peer_id = ${peerId}`
      return row
    } catch (error) {
      throw databaseError(error)
    }
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
