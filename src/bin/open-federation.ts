import path from 'node:path'
import { Federation } from '#federation'
import { clientAddress, parseTrustedProxies, sourceGroup } from '#transport'
import { switchOfFiles } from './kill-switch-files.ts'
import type { Ground, Rooms } from './open-rooms.ts'

/** Honoured on every pool, whatever its settings. */
const systemWideSwitch = '/etc/iamine/fed_disable'

/** What other pools find here, behind the files that switch it off. */
export async function openFederation(all: Ground & Pick<Rooms, 'models'>) {
  const { settings, runtime, pool, database, models, log, closers } = all
  const files = [systemWideSwitch, path.join(settings.data, 'fed_disable')]
  const federation = await Federation.open({
    database,
    runtime,
    poolId: pool.poolId,
    identity: pool.identity,
    mode: settings.federation,
    name: settings.federationName,
    url: settings.publicUrl ?? '',
    capabilities: () =>
      models.list().map(({ name, variants }) => ({
        model: name,
        workers: variants.reduce((sum, { workers }) => sum + workers, 0),
      })),
    killSwitch: switchOfFiles(files, runtime),
    policy: { httpHosts: settings.federationHttpHosts, privateRanges: settings.federationPrivateRanges },
    onCalledBack: ({ peer, failed }) => log.info({ peer, failed: failed?.message }, 'another pool was called back'),
    onHeard: (event) => log.info(event, 'another pool was heard'),
    onProblem: (error) => log.error({ err: error }, 'the table of peers could not be read'),
  })
  closers.add('federation', () => federation[Symbol.dispose]())
  const trusted = parseTrustedProxies(settings.trustedProxies)
  return {
    info: () => federation.info(),
    answer: (request: Parameters<Federation['answer']>[0], remote: string | undefined, forwarded: string | undefined) =>
      federation.answer(request, sourceGroup(clientAddress(remote, forwarded, trusted))),
  }
}
