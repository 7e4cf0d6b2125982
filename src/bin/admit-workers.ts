import { addressBlocked, type Identity, type PoolIdentity, type WorkerRecord, workerBlocked } from '#identity'
import type { PoolEvents } from '#observability'
import type { Refusal, WorkerId } from '#protocol'
import type { Runtime } from '#runtime'
import { isWithin, parseTrustedProxies, WorkerDoor } from '#transport'
import type { Admission, Workers } from '#workers'
import type { HandOutModels } from './hand-out-models.ts'
import { binLimits } from './limits.ts'

interface Options {
  readonly identity: Identity
  readonly pool: PoolIdentity
  readonly workers: Workers
  readonly runtime: Runtime
  readonly events: PoolEvents
  readonly trustedProxies: readonly string[]
  readonly socketsPerSource: number
  readonly socketsUnknown: number
  readonly onFault: (error: unknown) => void
}

/** The door workers knock at: identity decides who comes in, the workers' room takes them over. */
export function openWorkerDoor(options: Options) {
  const { identity, pool, workers, runtime, events, onFault } = options
  const accepted = new AcceptedKeys(identity, onFault)
  return new WorkerDoor({
    pool: pool.identity,
    staticKey: pool.staticKey,
    runtime,
    trustedProxies: options.trustedProxies,
    limits: {
      unauthenticatedPerSourceMax: options.socketsPerSource,
      unauthenticatedMax: options.socketsUnknown,
    },
    admit: (peer) => identity.admitWorker(peer),
    isKnownKey: (id) => accepted.has(id),
    onSession: (session, { standing, expiresAt, operator }) => {
      accepted.add(session.peer.id as WorkerId)
      workers.attach(session, { standing, expiresAt: new Date(expiresAt), operator })
    },
    onRefused: (refusal) => events.turnedAway(refusal),
    onFault,
  })
}

const pageRows = 1_000

/**
 * Workers whose key was accepted before it was registered: an id is the key's hash, so when they return (after a restart all at once)
 * the curve check (0.6 ms) need not be repeated. Until the list is read, and for everybody who is not on it, the check is made.
 */
class AcceptedKeys {
  readonly #ids = new Set<WorkerId>()

  constructor(identity: Identity, onFault: (error: unknown) => void) {
    this.#load(identity).catch(onFault)
  }

  has(id: WorkerId): boolean {
    return this.#ids.has(id)
  }

  add(id: WorkerId): void {
    if (this.#ids.size < binLimits.acceptedKeysMax) this.#ids.add(id)
  }

  async #load(identity: Identity): Promise<void> {
    let page = await identity.listWorkers({ limit: pageRows })
    for (;;) {
      for (const { id } of page) this.add(id)
      const last = page.at(-1)
      if (!last || page.length < pageRows || this.#ids.size >= binLimits.acceptedKeysMax) return
      page = await identity.listWorkers({ after: last.id, limit: pageRows })
    }
  }
}

/** Where a worker may be while it is told that it may be there no more. */
interface Places {
  readonly workers: Pick<Workers, 'disconnect' | 'disconnectFrom' | 'standingChanged'>
  /** Its tickets for model files end with its session. */
  readonly handOut: Pick<HandOutModels, 'barred'>
}

/**
 * What was decided about a worker's key, here or by another replica, reaches its live session. The log of a pool that was started again does
 * not repeat what it said before.
 */
export function followWorkerKeys(identity: Identity, places: Places, events: PoolEvents): Disposable {
  return identity.onWorkerKeyChange((record, news) => {
    if (news && record.standing !== 'pending') events.keyDecided(record)
    tellSession(places, record)
  })
}

function tellSession(places: Places, { id, standing, expiresAt, operator }: WorkerRecord): void {
  if (standing === 'revoked') bar(places, id, revoked(id))
  else places.workers.standingChanged(id, { standing, expiresAt: new Date(expiresAt), operator } satisfies Admission)
}

function bar({ workers, handOut }: Places, id: WorkerId, refusal: Refusal): void {
  workers.disconnect(id, refusal)
  handOut.barred(id)
}

/** A block that was set here or by another replica ends the sessions it means, at once and once more for those that were on their way in. */
export function followBlocks(identity: Identity, places: Places, runtime: Runtime): Disposable {
  return identity.onBlockChange(({ kind, subject, lifted }) => {
    if (lifted) return
    if (kind === 'worker') bar(places, subject as WorkerId, workerBlocked(subject as WorkerId, 'worker'))
    else {
      const within = parseTrustedProxies([subject])
      const end = () => {
        const ended = places.workers.disconnectFrom((address) => isWithin(address, within), addressBlocked)
        for (const id of ended) places.handOut.barred(id)
      }
      end()
      runtime.after(binLimits.blockedAgainMs, end)
    }
  })
}

const revoked = (id: WorkerId): Refusal => ({
  code: 'worker_revoked',
  message: 'The key of this worker was revoked.',
  fix: `Ask the pool’s operator to renew it: \`lichen workers renew ${id.slice(0, 12)}\`.`,
})
