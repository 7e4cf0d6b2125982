import { decodeSamplingOpening, decodeSigned } from '#protocol'
import type { Sql } from '#storage'
import { RatesOnRecord } from './told-rates.ts'

/** What opens the sampling of a job, once the key of its epoch is told; null before. `workers`: wire forms of the statements. */
export async function tellSampling(sql: Sql, opening: Buffer, workers: readonly Buffer[]) {
  const { epoch, rates } = decodeSamplingOpening(opening)
  const [row] = await sql<{ key: Buffer | null }[]>`select key from epochs where epoch = ${epoch}`
  const table = row?.key ? await new RatesOnRecord(sql, epoch).find(rates) : undefined
  if (!row?.key || !table) return null
  const proofs = workers.map((wire) => {
    const decoded = decodeSigned(wire, 'worker-statement/1')
    if (!decoded.ok) throw new Error(`a stored statement cannot be read: ${decoded.problem}`)
    const { worker, model } = decoded.signed.message
    return table.prove(worker.toString('hex'), model) ?? null
  })
  return { key: row.key, opening, rates: proofs }
}
