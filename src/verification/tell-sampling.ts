import { decodeSamplingOpening, decodeSigned } from '#protocol'
import type { Sql } from '#storage'
import { type Rate, RateTable } from './rates.ts'

/** What opens the sampling of a job, once the key of its epoch is told; null before. `workers`: wire forms of the statements. */
export async function tellSampling(sql: Sql, opening: Buffer, workers: readonly Buffer[]) {
  const { epoch, rates } = decodeSamplingOpening(opening)
  const [row] = await sql<{ key: Buffer | null; rates: string | null }[]>`
    select e.key, (select r.rates::text from rate_tables r where r.root = ${rates}) as rates
      from epochs e where e.epoch = ${epoch}`
  if (!row?.key || row.rates === null) return null
  const table = new RateTable(JSON.parse(row.rates) as Rate[])
  const proofs = workers.map((wire) => {
    const decoded = decodeSigned(wire, 'worker-statement/1')
    if (!decoded.ok) throw new Error(`a stored statement cannot be read: ${decoded.problem}`)
    const { worker, model } = decoded.signed.message
    return table.prove(worker.toString('hex'), model) ?? null
  })
  return { key: row.key, opening, rates: proofs }
}
