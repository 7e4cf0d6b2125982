import type { FactExchange } from '#federation'

/** Who should vouch for this pool's log and does not: what happens meanwhile, the others alone have seen. */
export function witnessWarnings(exchange: Pick<FactExchange, 'silentWitnesses'>): string[] {
  return exchange.silentWitnesses().map(({ witness, since }) => {
    const at = new Date(since).toISOString().slice(0, 16)
    return `Witness ${witness.slice(0, 12)} has signed nothing of this pool's log since ${at}Z: \`lichen fed ping ${witness.slice(0, 12)}\`, then ask its admin.`
  })
}
