import type { ApiDeps, FederationAdmin, FederationDoor, Origin } from '#api'
import { type Capability, Federation, handshakePath, PeerAdminKeys, Toggles, Tokens } from '#federation'
import type { Runtime } from '#runtime'
import { clientAddress, parseTrustedProxies, sourceGroup } from '#transport'
import { KillSwitchFiles, killSwitchFilesOf } from './kill-switch-files.ts'
import { binLimits } from './limits.ts'
import { adminKeysOf, openAdminRequests } from './open-admin-requests.ts'
import type { Ground, Rooms } from './open-rooms.ts'

/** What other pools find here, behind the files that switch it off. */
export async function openFederation(all: Ground & Rooms) {
  const { settings, runtime, pool, database, models, workers, jobs, journal, breakers, ledger, log, trouble, closers } =
    all
  const files = new KillSwitchFiles(killSwitchFilesOf(settings), runtime)
  const toggles = await Toggles.open({
    database,
    runtime,
    filesThere: () => files.there(),
    whyNoWrite: async () => {
      const { size } = await adminKeysOf(all)(database.sql)
      const need = settings.federationAdminQuorum
      return size >= need ? undefined : `A WRITE is approved by ${need} of the admin keys, and there are ${size}.`
    },
    keptOff: new Map([
      ...(settings.federationAccept ? [] : [['accept', 'federation_accept'] as const]),
      ...(settings.federationForward ? [] : [['forward', 'federation_forward'] as const]),
    ]),
    onFlip: (event) => log.warn(event, event.off ? 'federation is switched off' : 'federation is switched on again'),
    onProblem: trouble('the switches of federation cannot be read: federation is off'),
  })
  closers.add('switches of federation', () => toggles[Symbol.dispose]())
  const offered = await offeredToOthers(models, ledger, runtime)
  closers.add('what others are offered', () => offered.stop())
  const federation = await Federation.open({
    database,
    runtime,
    poolId: pool.poolId,
    identity: pool.identity,
    adminKeys: adminKeysOf(all),
    mode: settings.federation,
    name: settings.federationName,
    url: settings.publicUrl ?? '',
    capabilities: () => offered.list,
    killSwitch: toggles,
    publish: settings.federationPublish,
    load: () => loadOf(workers, jobs),
    policy: { httpHosts: settings.federationHttpHosts, privateRanges: settings.federationPrivateRanges },
    networkOf: sourceGroup,
    onCalledBack: ({ peer, failed }) => log.info({ peer, failed: failed?.message }, 'another pool was called back'),
    onTrust: (change) => {
      journal.add('peer_status', change.peer, { state: `trust ${change.to}` })
      if (change.by === 'self') log.warn(change, 'the trust in another pool changed by itself')
      else log.info(change, 'the trust in another pool was changed')
      all.elsewhere.trusted?.()
    },
    onReach: ({ peer, problem }) => {
      if (problem === null) log.info({ peer }, 'another pool is reached again')
      else log.info({ peer, problem }, 'another pool is not reached')
      // what was said on either side meanwhile
      if (problem === null) all.elsewhere.trusted?.()
    },
    onHeard: (event) => {
      log.info(event, 'another pool was heard')
      if (event.path !== handshakePath || event.refused !== null) return
      journal.add('peer_handshake', event.peer, { version: event.version })
      // a bonded pool that has found this one again compares what was said meanwhile, and so does this one
      if ((federation.peers.get(event.peer)?.trust ?? 0) >= 3) all.elsewhere.trusted?.()
    },
    onProblem: trouble('the table of peers could not be read'),
  })
  // a pool that comes back finds its peers now, not half a minute later
  void federation.heartbeats.beat().catch(trouble('other pools could not be looked for'))
  const overview = runtime.every(binLimits.overviewMs, () => {
    const circuits = workers.list().filter(({ id }) => breakers.circuitOf(id) !== 'closed').length
    const counts = { workers: workers.list().length, models: models.list().length, circuits_open: circuits }
    journal.add('overview', pool.poolId, counts)
  })
  closers.add('overviews', () => overview.cancel())
  closers.add('federation', () => federation[Symbol.dispose]())
  const trusted = parseTrustedProxies(settings.trustedProxies)
  const networkOf = ({ remoteAddress, forwardedFor }: Origin) =>
    sourceGroup(clientAddress(remoteAddress, forwardedFor, trusted))
  const door: FederationDoor = {
    info: () => federation.info(),
    directory: (page) => federation.directory(page),
    turnAway: ({ head, bodyBytes, ...origin }) => federation.turnAway(head, bodyBytes, networkOf(origin)),
    answer: (request, origin) => federation.answer(request, networkOf(origin)),
  }
  const { office } = federation
  const admin: Omit<FederationAdmin, 'statement'> = Object.assign(office, {
    mode: settings.federation,
    name: settings.federationName,
    url: settings.publicUrl ?? '',
    publicKey: pool.identity.publicKey,
    killed: () => toggles.on(),
  })
  const requests = openAdminRequests(all, federation, toggles)
  const peerKeys = new PeerAdminKeys(database, runtime, (peer) => office.tryBond(peer))
  const requestsAdmin: ApiDeps['requestsAdmin'] = { requests, peerKeys }
  const tokens = new Tokens({
    ...all,
    poolId: pool.poolId,
    identity: pool.identity,
    peers: federation.peers,
    off: () => toggles.on(),
    onRevoked: () => all.elsewhere.trusted?.(),
  })
  return { tokens, door, admin, toggles, requestsAdmin, federation }
}

/** What workers here offer, with prices; looked at every second. */
async function offeredToOthers(models: Rooms['models'], ledger: Rooms['ledger'], runtime: Runtime) {
  const offered: { list: readonly Capability[]; stop: () => void } = { list: [], stop: () => timer.cancel() }
  const look = async () => {
    offered.list = await Promise.all(
      models.list().flatMap(({ name, variants }) =>
        variants.slice(0, 1).map(async ({ digest, contextTokens, features }) => ({
          model: name,
          workers: variants.reduce((sum, { workers }) => sum + workers, 0),
          digest,
          context: contextTokens,
          features,
          prices: await ledger.prices.for(name),
        })),
      ),
    )
  }
  const timer = runtime.every(1_000, () => void look().catch(() => {}))
  await look()
  return offered
}

function loadOf(workers: Pick<Rooms['workers'], 'list'>, jobs: Pick<Rooms['jobs'], 'load'>) {
  const approved = workers.list().filter(({ standing }) => standing === 'approved')
  const sum = (of: (worker: (typeof approved)[number]) => number) => approved.reduce((total, one) => total + of(one), 0)
  return { running: sum(({ active }) => active), waiting: jobs.load.queued, slots: sum(({ slots }) => slots) }
}
