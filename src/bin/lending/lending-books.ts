import type { LendingBooks } from '#api'
import type { Ledger } from '#ledger'
import { PoolError, type PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import { type Database, fromDatabase } from '#storage'

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

/** A job is accepted within so long, or its process has died over it. */
const acceptMsMax = 60_000

/** Who asked for what, and how much more each pool may owe: for all processes of the pool. */
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
  /** One at a time, so that those who wait for each other hold one shared connection and no more. */
  let last: Promise<unknown> = Promise.resolve()
  return {
    async reserve(peer, originRequestId, amount) {
      const now = runtime.now()
      await peerBalance(ledger, peer)
      const turn = last.then(async () => {
        const [row] = await fromDatabase(sql<{ how: 'reserved' | 'again' | 'credit' }[]>`
          select reserve_lent_job(${peer}, ${originRequestId}, ${new Date(now)}, ${amount}, ${creditLimit}, ${new Date(now - acceptMsMax)}) as how`)
        return row?.how ?? 'credit'
      })
      last = turn.catch(() => {})
      return turn
    },
    async accepted(peer, originRequestId, jobId) {
      await sql`
        update lent_jobs set job_id = ${jobId}, reserved = null
         where peer_id = ${peer} and origin_request_id = ${originRequestId}`
    },
    async forget(peer, originRequestId) {
      await sql`delete from lent_jobs where peer_id = ${peer} and origin_request_id = ${originRequestId} and job_id is null`
    },
  }
}
