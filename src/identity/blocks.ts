import { PoolError, type Refusal, type WorkerId } from '#protocol'
import type { Runtime } from '#runtime'
import { BatchLoader, type Database, fromDatabase, type Tx, texts } from '#storage'
import { ChangeFeed, changedSince, revisionOf } from './change-feed.ts'
import { identityLimits } from './limits.ts'
import { inetOf, parseNetwork } from './network.ts'
import { recordAct } from './record-act.ts'

/** A block that stands. */
export interface BlockRecord {
  readonly id: string
  readonly kind: 'worker' | 'operator' | 'address'
  /** Id of the worker, name of the operator, or the network. */
  readonly subject: string
  /** Null for operators that were blocked before reasons were kept. */
  readonly because: string | null
  readonly at: number
}

interface BlockRow {
  readonly id: string
  readonly kind: 'worker' | 'address'
  readonly subject: string
  readonly lifted: boolean
  readonly revision: bigint
}

/** A block that came or went, for those who have sessions. */
export type BlockChange = Pick<BlockRow, 'kind' | 'subject' | 'lifted'>

interface NewBlock {
  readonly kind: 'worker' | 'address'
  readonly subject: string
  readonly because: string
  readonly by: string
}

/** Workers and addresses that may not come in, whatever their keys say. Operators: see `blockOperator`. */
export class Blocks implements Disposable {
  readonly #database: Database
  readonly #runtime: Runtime
  readonly #addresses: BatchLoader<string>
  readonly #feeds: Disposable[] = []

  constructor(database: Database, runtime: Runtime) {
    this.#database = database
    this.#runtime = runtime
    this.#addresses = new BatchLoader((addresses) => this.#blockedOf(addresses))
  }

  /** The refusal for whoever knocks from a blocked address. */
  async whyNotFrom(address: string | undefined): Promise<Refusal | undefined> {
    const inet = inetOf(address)
    const network = inet === undefined ? undefined : await this.#addresses.get(inet)
    return network === undefined ? undefined : addressBlocked
  }

  /** Once is enough. `subject` of a worker is its whole id. @throws PoolError conflict when there are too many, invalid_request. */
  async block(tx: Tx, { kind, subject, because, by }: NewBlock): Promise<void> {
    const inet = kind === 'address' ? parseNetwork(subject) : null
    const name = inet === null ? subject : await networkText(tx, inet)
    if (await standing(tx, kind, name)) return
    const [count] = await tx<{ rows: number }[]>`
      select count(*)::int as rows from blocks where kind = ${kind} and lifted_at is null`
    if ((count?.rows ?? 0) >= identityLimits.blocksMax) {
      const fix = 'Lift some: `lichen workers blocks` lists them. A network instead of many addresses is one block.'
      throw new PoolError('conflict', `There are ${identityLimits.blocksMax} blocks of this kind.`, fix)
    }
    const at = this.#runtime.now()
    await tx`
      insert into blocks (id, kind, subject, network, because, by_whom, at)
      values (${this.#runtime.uuid()}, ${kind}, ${name}, ${inet === null ? null : name}::cidr, ${because}, ${by}, ${at})`
    await recordAct(tx, by, { action: `${kind}.block`, subject: `${kind}:${name}`, details: { because } })
  }

  /** @throws PoolError not_found when it is not blocked, invalid_request. */
  async lift(tx: Tx, kind: 'worker' | 'address', subject: string, by: string): Promise<void> {
    const name = kind === 'address' ? await networkText(tx, parseNetwork(subject)) : subject
    if (!(await standing(tx, kind, name))) {
      throw new PoolError('not_found', `No block of this ${kind} stands.`, 'See `lichen workers blocks`.')
    }
    await tx`
      update blocks set lifted_at = ${this.#runtime.now()}, lifted_by = ${by}
       where kind = ${kind} and subject = ${name} and lifted_at is null`
    await recordAct(tx, by, { action: `${kind}.unblock`, subject: `${kind}:${name}` })
  }

  /** Standing blocks of all kinds, by id. */
  async list(page: { readonly after?: string; readonly limit?: number } = {}): Promise<BlockRecord[]> {
    const limit = Math.min(page.limit ?? 100, identityLimits.pageRowsMax)
    const rows = await fromDatabase(this.#database.sql<BlockRecord[]>`
      select * from (
        select id, kind, subject, because, at from blocks where lifted_at is null
        union all
        select id, 'operator', name, blocked_because, blocked_at from operators where blocked_at is not null) b
       where b.id > ${page.after ?? '00000000-0000-0000-0000-000000000000'}::uuid order by b.id limit ${limit}`)
    return [...rows]
  }

  /** Told within a second of every block that came or went, by whichever program. */
  onChange(told: (change: BlockChange) => void): Disposable {
    const { sql } = this.#database
    const feed = new ChangeFeed<BlockRow>({
      database: this.#database,
      runtime: this.#runtime,
      channel: 'lichen_blocks',
      read: (since) => sql<BlockRow[]>`
        select b.id, b.kind, b.subject, b.lifted_at is not null as lifted, ${sql.unsafe(revisionOf('b'))}
          from blocks b where ${changedSince(sql, 'b', since)}
         order by b.changed_at limit ${identityLimits.changesMax}`,
      onChange: told,
    })
    this.#feeds.push(feed)
    return feed
  }

  async #blockedOf(addresses: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const rows = await this.#database.sql<{ address: string; network: string }[]>`
      select a.address, b.network
        from unnest(${texts(addresses)}::text[]) as a (address)
        cross join lateral (
          select network::text from blocks
           where kind = 'address' and lifted_at is null and a.address::inet <<= network limit 1) b`
    return new Map(rows.map(({ address, network }) => [address, network]))
  }

  [Symbol.dispose](): void {
    for (const feed of this.#feeds) feed[Symbol.dispose]()
  }
}

/** Told to whoever comes from a blocked address, and to sessions that are open from there. */
export const addressBlocked: Refusal = {
  code: 'address_blocked',
  message: 'No worker may lend from this address: an admin of the pool has blocked it.',
  fix: 'Ask an admin of the pool, or lend from elsewhere.',
}

/** Told to a worker, or one of an operator, that an admin has blocked. */
export const workerBlocked = (id: WorkerId, whose: 'worker' | 'operator'): Refusal => ({
  code: 'worker_blocked',
  message:
    whose === 'worker' ? 'This worker is blocked by an admin of the pool.' : 'The operator of this worker is blocked.',
  fix: `Ask an admin of the pool; \`lichen workers unblock ${whose === 'worker' ? id.slice(0, 12) : '--operator NAME'}\` lifts it.`,
})

/** @throws PoolError conflict: a blocked worker is neither approved nor renewed. */
export async function assertWorkerFree(tx: Tx, id: WorkerId): Promise<void> {
  if (!(await standing(tx, 'worker', id))) return
  const name = id.slice(0, 12)
  const fix = `An admin may lift the block: \`lichen workers unblock ${name}\`.`
  throw new PoolError('conflict', `Worker ${name} is blocked.`, fix)
}

async function standing(tx: Tx, kind: string, subject: string): Promise<boolean> {
  const rows = await tx`select from blocks where kind = ${kind} and subject = ${subject} and lifted_at is null`
  return rows.length > 0
}

/** The network an address or range stands for, as PostgreSQL writes it. */
async function networkText(tx: Tx, inet: string): Promise<string> {
  const [row] = await tx<{ text: string }[]>`select network(${inet}::inet)::text as text`
  return row?.text ?? inet
}
