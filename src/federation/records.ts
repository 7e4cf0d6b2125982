import type { PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database } from '#storage'
import { type Outcomes, whyLower } from './decide-trust.ts'
import { federationLimits } from './limits.ts'
import type { TrustActs } from './trust-acts.ts'

export type Outcome = 'success' | 'failure' | 'mismatch'

/** What came of the calls to one peer: ever, and within the last window. */
export interface PeerRecord extends Outcomes {
  readonly lately: Outcomes
  readonly lastWhy: string
}

interface Row {
  successes: bigint
  failures: bigint
  mismatches: bigint
  window_successes: number
  window_failures: number
  window_mismatches: number
  last_why: string
}

const { recordWindowMs, mismatchesMax, failuresMax } = federationLimits

/** Counts what came of the work of each peer, for all processes of the pool, and lowers trust past the threshold. */
export class Records {
  readonly #database: Database
  readonly #runtime: Runtime
  readonly #acts: Pick<TrustActs, 'lower'>

  constructor(database: Database, runtime: Runtime, acts: Pick<TrustActs, 'lower'>) {
    this.#database = database
    this.#runtime = runtime
    this.#acts = acts
  }

  /** `why`: for the record, where it was no success. */
  async note(id: PoolId, outcome: Outcome, why = ''): Promise<void> {
    const now = new Date(this.#runtime.now())
    const since = new Date(this.#runtime.now() - recordWindowMs)
    const [s, f, m] = (['success', 'failure', 'mismatch'] as const).map((one) => (one === outcome ? 1 : 0))
    const text = why.slice(0, 300)
    const rows = await this.#database.sql<Row[]>`
      insert into peer_records as r (peer_id, successes, failures, mismatches, window_at,
        window_successes, window_failures, window_mismatches, last_why)
      values (${id}, ${s ?? 0}, ${f ?? 0}, ${m ?? 0}, ${now}, ${s ?? 0}, ${f ?? 0}, ${m ?? 0}, ${text})
      on conflict (peer_id) do update set
        successes = r.successes + excluded.successes, failures = r.failures + excluded.failures,
        mismatches = r.mismatches + excluded.mismatches,
        window_successes = excluded.window_successes + case when r.window_at < ${since} then 0 else r.window_successes end,
        window_failures = excluded.window_failures + case when r.window_at < ${since} then 0 else r.window_failures end,
        window_mismatches = excluded.window_mismatches + case when r.window_at < ${since} then 0 else r.window_mismatches end,
        window_at = case when r.window_at < ${since} then excluded.window_at else r.window_at end,
        last_why = case when excluded.last_why = '' then r.last_why else excluded.last_why end
      returning *`
    const record = rows[0] && toRecord(rows[0])
    const lower = record && whyLower(record.lately, { mismatchesMax, failuresMax })
    if (!lower) return
    await this.#database.sql`
      update peer_records set window_at = ${now}, window_successes = 0, window_failures = 0, window_mismatches = 0
       where peer_id = ${id}`
    await this.#acts.lower(id, `${lower}${why === '' ? '' : `; the last: ${why}`}`.slice(0, 300))
  }

  async read(): Promise<ReadonlyMap<PoolId, PeerRecord>> {
    const rows = await this.#database.sql<(Row & { peer_id: PoolId })[]>`
      select * from peer_records limit ${federationLimits.peersMax}`
    return new Map(rows.map((row) => [row.peer_id, toRecord(row)]))
  }
}

function toRecord(row: Row): PeerRecord {
  return {
    successes: Number(row.successes),
    failures: Number(row.failures),
    mismatches: Number(row.mismatches),
    lately: {
      successes: row.window_successes,
      failures: row.window_failures,
      mismatches: row.window_mismatches,
    },
    lastWhy: row.last_why,
  }
}
