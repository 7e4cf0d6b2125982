import { AdminRequests, type Federation, type Toggles } from '#federation'
import { goodAdminKeys } from '#identity'
import type { PoolId } from '#protocol'
import type { Sql } from '#storage'
import { pendingSlashes } from '#verification'
import { binLimits } from './limits.ts'
import type { Ground, Rooms } from './open-rooms.ts'

/** Keys of admins of this pool, without the pool's own: whoever holds that must not be admin, too. */
export const adminKeysOf =
  ({ pool }: Pick<Ground, 'pool'>) =>
  async (sql: Sql) =>
    new Map([...(await goodAdminKeys(sql))].filter(([id]) => id !== pool.poolId))

/** What other pools ask of the humans here, and what those ask of others. */
export function openAdminRequests(
  all: Ground & Pick<Rooms, 'journal' | 'breakers' | 'standings'>,
  federation: Federation,
  toggles: Toggles,
): AdminRequests {
  const { settings, runtime, pool, database, journal, breakers, standings, log, trouble, closers } = all
  const requests = new AdminRequests({
    database,
    runtime,
    poolId: pool.poolId,
    peers: federation.peers,
    toggles,
    quorum: settings.federationAdminQuorum,
    v1Writers: settings.federationV1Writes,
    adminKeys: adminKeysOf(all),
    events: async (query) => {
      await journal.flush()
      return journal.read(query)
    },
    pendingSlashes: (tx) => pendingSlashes(tx, binLimits.guardSnapshotMax),
    reset: async (tx) => ({
      circuits: await breakers.resetAll(tx),
      posteriors: await standings.resetPosteriors(tx),
    }),
    send: (id, path, body, signal) => sendTo(federation, id, path, body, signal),
    onEvent: (event) => log.info(event, 'a request between pools'),
    onProblem: trouble('requests between pools are in trouble'),
  })
  closers.add('requests between pools', () => requests[Symbol.asyncDispose]())
  for (const [path, route] of Object.entries(requests.routes)) federation.serve(path, route)
  return requests
}

/** One signed call to a bonded pool; what it answers is what it says of its own human. */
export async function sendTo(
  { peers, outbound }: Pick<Federation, 'peers' | 'outbound'>,
  id: PoolId,
  path: string,
  body: object,
  signal: AbortSignal,
) {
  const peer = peers.get(id)
  if (!peer || peer.revoked || peer.trust < 3)
    return { ok: false, code: 'refused', message: 'That pool is not bonded here.' } as const
  return outbound.call({ url: peer.url, known: peer }, { method: 'POST', target: path, body, signal })
}
