import { canonicalize, sha256 } from '#crypto'
import { decodeSamplingOpening, decodeSigned, decodeStrict, epochMs, PoolError, selects } from '#protocol'
import type { Sql } from '#storage'
import type { OpenEpoch } from './epochs.ts'
import { RateTable } from './rates.ts'
import { type RatesLine, RatesOnRecord } from './told-rates.ts'

/** What the text of an epoch's disclosure is made of, line by line. Everything binary is lowercase hex. */
export type DisclosureLine =
  | { readonly lichen: 'epoch_disclosure/1'; readonly epoch: number; readonly key: string; readonly commitment: string }
  /** Check rates that were in force. */
  | RatesLine
  /** One receipt: its order, what opens the order's commitment, and what was decided about each statement. */
  | {
      readonly job: string
      readonly order: string
      readonly opening: string
      readonly statements: readonly DisclosedStatement[]
    }

export interface DisclosedStatement {
  readonly worker: string
  readonly model: string
  /** sha256 of the statement without its signature. */
  readonly statement: string
  readonly q: number
  readonly selected: boolean
  /** The check that was made of it, or the reason why none was. */
  readonly check: string | null
  readonly waived: string | null
}

const pageRows = 500
/** Ids of jobs sort by their time; a job's id and the time of its acceptance differ by less. */
const slackMs = 60_000

/**
 * Every line of an epoch, in one order: head, rates as they are needed, receipts by job. The same rows give the same text.
 * @throws PoolError not_found when rates that its orders name are not on record.
 */
export async function* discloseEpoch(sql: Sql, { epoch, key, commitment }: OpenEpoch): AsyncGenerator<DisclosureLine> {
  const head = { epoch, key: key.toString('hex'), commitment: commitment.toString('hex') }
  yield { lichen: 'epoch_disclosure/1', ...head }
  const tables = new Map<string, RateTable>()
  const onRecord = new RatesOnRecord(sql, epoch)
  let after = firstIdAt(epoch * epochMs - slackMs)
  const end = firstIdAt((epoch + 1) * epochMs + slackMs)
  for (;;) {
    const rows = await readPage(sql, after, end)
    for (const row of rows) {
      const opening = decodeSamplingOpening(row.sampling)
      if (opening.epoch !== epoch) continue
      const root = opening.rates.toString('hex')
      if (!tables.has(root)) {
        const table = await onRecord.find(opening.rates)
        if (!table) throw ratesGone(epoch)
        tables.set(root, table)
        yield { rates: root, table: table.rates }
      }
      const statements = statementsOf(row, key, tables.get(root) ?? new RateTable([]))
      yield { job: row.jobId, order: row.hash.toString('hex'), opening: row.sampling.toString('hex'), statements }
    }
    const last = rows.at(-1)
    if (!last || rows.length < pageRows) return
    after = last.jobId
  }
}

/** One line of the text: RFC 8785 JSON and a line feed. */
export const disclosureText = (line: DisclosureLine): Buffer => Buffer.concat([canonicalize(line), Buffer.from('\n')])

interface Row {
  readonly jobId: string
  readonly hash: Buffer
  readonly sampling: Buffer
  readonly workers: Buffer
  /** Pairs of hex statement, check, waiver, as text. */
  readonly checks: readonly { readonly statement: string; readonly check: string; readonly waived: string | null }[]
}

async function readPage(sql: Sql, after: string, end: string): Promise<Row[]> {
  const rows = await sql<(Omit<Row, 'checks'> & { checks: string })[]>`
    select o.job_id as "jobId", o.hash, o.sampling, r.workers,
           (select coalesce(json_agg(json_build_object('statement', encode(c.statement, 'hex'), 'check', c.id, 'waived', c.waived)
                                     order by c.id), '[]')::text
              from checks c where c.job_id = o.job_id and c.statement is not null and c.ended_at is not null) as checks
      from orders o join receipts r on r.job_id = o.job_id
     where o.job_id > ${after}::uuid and o.job_id < ${end}::uuid and o.sampling is not null
     order by o.job_id limit ${pageRows}`
  return rows.map((row) => ({ ...row, checks: JSON.parse(row.checks) }))
}

const ratesGone = (epoch: number) =>
  new PoolError(
    'not_found',
    `Check rates that orders of epoch ${epoch} name are not on record.`,
    'A pool that told the epoch with an older version kept them for 72 hours only.',
  )

function statementsOf(row: Row, epochKey: Buffer, table: RateTable): DisclosedStatement[] {
  const wires = decodeStrict(row.workers)
  if (!wires.ok || !Array.isArray(wires.value)) return []
  return wires.value.flatMap((wire): DisclosedStatement[] => {
    const decoded = decodeSigned(Buffer.from(wire as Uint8Array), 'worker-statement/1')
    if (!decoded.ok) return []
    const { message, bytes } = decoded.signed
    const worker = message.worker.toString('hex')
    const hash = sha256(bytes)
    const statement = hash.toString('hex')
    const q = table.of(worker, message.model)
    const made = row.checks.find((one) => one.statement === statement)
    const selected = selects({ epochKey, statementHash: hash, qPpm: q })
    const { check = null, waived = null } = made ?? {}
    return [{ worker, model: message.model, statement, q, selected, check, waived }]
  })
}

/** The least UUIDv7 (RFC 9562 §5.7) of a moment. */
function firstIdAt(ms: number): string {
  const hex = ms.toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`
}
