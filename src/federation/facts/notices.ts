import { insertAct } from '#log'
import { PoolError, type PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database } from '#storage'
import { factLimits } from '../limits.ts'

/** Something another pool said, or did, that a human here should look at. */
export interface NewNotice {
  readonly kind: 'fault' | 'revocation' | 'slash' | 'fork' | 'rollback' | 'loss'
  readonly peer: PoolId
  /** Whom it is about: the id of a pool or worker. */
  readonly subject: string
  readonly text: string
  readonly details: Readonly<Record<string, unknown>>
  /** The same word is the same notice. */
  readonly same: string
}

export interface Notice extends NewNotice {
  readonly id: string
  readonly at: number
  readonly closedAt: number | null
  readonly closedBy: string | null
}

interface Row {
  id: string
  at: number
  peer_id: PoolId
  kind: NewNotice['kind']
  subject: string
  text: string
  details: Record<string, unknown>
  same: string
  closed_at: number | null
  closed_by: string | null
}

/** What waits for a human because of other pools. Nothing else follows from it, but that suspected workers are checked more. */
export class Notices {
  readonly #database: Database
  readonly #runtime: Runtime
  /** Workers somebody was slashed for elsewhere, with evidence that holds, as long as nobody has closed it. */
  #suspects: ReadonlySet<string> = new Set()

  constructor(database: Database, runtime: Runtime) {
    this.#database = database
    this.#runtime = runtime
  }

  /** Once for the same thing. Whether it is new. */
  async open({ kind, peer, subject, text, details, same }: NewNotice): Promise<boolean> {
    const rows = await this.#database.sql`
      insert into federation_notices (id, at, peer_id, kind, subject, text, details, same)
      select ${this.#runtime.uuid()}, ${new Date(this.#runtime.now())}, ${peer}, ${kind}, ${subject}, ${text.slice(0, 1_000)},
             ${JSON.stringify(details)}::text::jsonb, ${same}
       where (select count(*) from federation_notices where peer_id = ${peer} and closed_at is null) < ${factLimits.noticesPerPeerMax}
      on conflict (same) do nothing returning id`
    if (rows.length > 0) await this.refresh()
    return rows.length > 0
  }

  /** Newest first. */
  async list(all: boolean): Promise<Notice[]> {
    const { sql } = this.#database
    const rows = await sql<Row[]>`
      select * from federation_notices where ${all ? sql`true` : sql`closed_at is null`}
       order by at desc, id desc limit ${factLimits.noticesShownMax}`
    return rows.map(({ peer_id, closed_at, closed_by, ...row }) => ({
      ...row,
      peer: peer_id,
      closedAt: closed_at,
      closedBy: closed_by,
    }))
  }

  /** A human has looked. @throws PoolError not_found. */
  async close(id: string, by: string): Promise<void> {
    await this.#database.transaction(async (tx) => {
      const [row] = await tx<{ kind: string; subject: string }[]>`
        update federation_notices set closed_at = ${new Date(this.#runtime.now())}, closed_by = ${by}
         where id::text = ${id} and closed_at is null returning kind, subject`
      if (!row) throw new PoolError('not_found', 'There is no such open notice.', 'See `lichen fed notices`.')
      await insertAct(tx, { actor: by, action: 'notice.close', subject: id, details: { ...row } })
    })
    await this.refresh()
  }

  /** Reads which workers are under suspicion. */
  async refresh(): Promise<void> {
    const rows = await this.#database.sql<{ subject: string }[]>`
      select subject from federation_notices where kind = 'slash' and closed_at is null and details->'holds' = 'true'`
    this.#suspects = new Set(rows.map(({ subject }) => subject))
  }

  /** Whether another pool has proven something against this worker, and no human here has looked yet. */
  isSuspected(workerId: string): boolean {
    return this.#suspects.has(workerId)
  }
}
