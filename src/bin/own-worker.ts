import { rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { loadMembership } from '#agent'
import { encodeInvite } from '#identity'
import type { Lifetime } from './lifetime.ts'
import type { LocalWorkerStart } from './local-worker.ts'
import { LocalWorkerKeeper } from './local-worker-keeper.ts'
import type { Ground, Rooms } from './open-rooms.ts'
import type { WorkerOrder } from './worker-program.ts'

/** The operator of `up`'s own worker (contracts: keys and ids). */
/** Whom the pool's own worker belongs to. */
export const ownOperator = 'self'

type House = Pick<Ground & Rooms, 'settings' | 'runtime' | 'log' | 'life' | 'identity' | 'pool' | 'closers'>

/**
 * `up`'s own worker, in a process of its own, joined over a real session. Its operator, who started us, approves it.
 * Resolves when it serves.
 */
export async function startOwnWorker(house: House, url: string, logStyle: LocalWorkerStart['log']): Promise<void> {
  const { settings, runtime, log, life, identity, closers } = house
  const keeper = new LocalWorkerKeeper({
    runtime,
    log,
    // the pool logs the same comings and goings
    logStyle: { ...logStyle, level: logStyle.level === 'info' ? 'warn' : logStyle.level },
    order: (unknown) => orderFor(house, url, unknown),
    approve: async (id) => void (await identity.approveWorker(id, ownOperator)),
    renew: async (id) => void (await identity.renewWorker(id, {}, ownOperator)),
  })
  const following = identity.onWorkerKeyChange(({ id, standing }) => {
    if (standing === 'approved') keeper.approved(id)
  })
  closers.add('local worker’s key', () => following[Symbol.dispose]())
  closers.add('local worker', () => keeper.stop(life.atOnce, settings.shutdownTimeout))
  await unlessStopped(life, keeper.start())
}

/**
 * What it lends. It gets a one-time invite when it has no membership of this pool yet, or when the pool does not know it
 * (`unknown`), as after a change of databases.
 */
async function orderFor(house: House, url: string, unknown: boolean): Promise<WorkerOrder> {
  const { model, upstream, upstreamApiKey, slots, threads, payerSignature, upstreamInside, data, name } = house.settings
  const { poolId } = house.pool
  const dataDir = path.join(data, 'local-worker')
  const membership = await loadMembership(dataDir)
  if (membership && membership.poolId !== poolId) await rm(path.join(dataDir, 'membership.json'))
  const joined = membership?.poolId === poolId && !unknown
  const lent = { models: model, upstreams: upstream, upstreamApiKey, slots, threads, payerSignature, upstreamInside }
  return {
    dataDir,
    url,
    name: name ?? os.hostname(),
    drainMs: house.settings.shutdownTimeout,
    ...lent,
    invite: joined ? undefined : await ownInvite(house, url),
  }
}

async function ownInvite({ identity, pool }: House, url: string): Promise<string> {
  const { token } = await identity.invite({ operator: ownOperator, by: ownOperator })
  return encodeInvite({ url, poolId: pool.poolId, token })
}

/** The work's outcome, or the reason to stop when that comes first. */
async function unlessStopped<T>(life: Lifetime, work: Promise<T>): Promise<T> {
  const stopped = new Promise<never>((_, reject) => {
    life.stopping.addEventListener('abort', () => reject(life.stopping.reason), { once: true })
  })
  return Promise.race([work, stopped])
}
