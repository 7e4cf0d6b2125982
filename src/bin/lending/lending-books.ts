import type { LendingBooks } from '#api'
import type { Ledger } from '#ledger'
import { PoolError, type PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database } from '#storage'

/** What a peer owes and is owed, in micro-credits of this pool. */
export interface PeerBalance {
  /** Above 0: this pool owes it; below: it owes this pool. */
  readonly posted: bigint
  readonly held: bigint
}

/** The account of a peer: made when it is first looked at. */
export async function peerBalance(
  ledger: Pick<Ledger, 'balance' | 'ensureAccounts'>,
  peer: PoolId,
): Promise<PeerBalance> {
  const name = `peer:${peer}`
  const read = () => ledger.balance(name)
  const { posted, held } = await read().catch(async (error) => {
    if (!(error instanceof PoolError) || error.code !== 'not_found') throw error
    await ledger.ensureAccounts([{ name }])
    return read()
  })
  return { posted, held }
}

/** Who asked for what, and how much more each pool may owe. */
export function lendingBooks({
  database,
  runtime,
  ledger,
  creditLimit,
}: {
  readonly database: Database
  readonly runtime: Runtime
  readonly ledger: Pick<Ledger, 'balance' | 'ensureAccounts'>
  /** Micro-credits that one peer may owe, what runs included. */
  readonly creditLimit: bigint
}): LendingBooks {
  const { sql } = database
  /** Reserved by this process and not yet in the ledger. */
  const reserved = new Map<PoolId, bigint>()
  const add = (peer: PoolId, amount: bigint) => reserved.set(peer, (reserved.get(peer) ?? 0n) + amount)
  return {
    async firstTime(peer, originRequestId) {
      const rows = await sql`
        insert into lent_jobs (peer_id, origin_request_id, at) values (${peer}, ${originRequestId}, ${new Date(runtime.now())})
        on conflict do nothing returning peer_id`
      return rows.length === 1
    },
    async reserve(peer, amount) {
      add(peer, amount)
      const release = () => void add(peer, -amount)
      try {
        const { posted, held } = await peerBalance(ledger, peer)
        if (posted - held + creditLimit >= (reserved.get(peer) ?? 0n)) return release
      } catch (error) {
        release()
        throw error
      }
      release()
      return undefined
    },
    async accepted(peer, originRequestId, jobId) {
      await sql`update lent_jobs set job_id = ${jobId} where peer_id = ${peer} and origin_request_id = ${originRequestId}`
    },
    async forget(peer, originRequestId) {
      await sql`delete from lent_jobs where peer_id = ${peer} and origin_request_id = ${originRequestId} and job_id is null`
    },
  }
}
