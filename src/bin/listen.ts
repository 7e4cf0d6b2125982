import http from 'node:http'
import net from 'node:net'
import os from 'node:os'
import type { FastifyInstance } from 'fastify'
import type { Settings } from '#config'
import { PoolError } from '#protocol'
import { type Runtime, withDeadline } from '#runtime'
import type { WorkerDoor } from '#transport'
import type { Closers } from './closers.ts'
import { binLimits } from './limits.ts'

type Place = Pick<Settings, 'host' | 'port'>

/** Before anything is made: a port that another program holds is the commonest mistake. @throws PoolError port_in_use. */
export async function refuseTakenPort({ host, port }: Place): Promise<void> {
  if (port === 0) return
  const server = net.createServer()
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, host, resolve)
    })
  } catch (error) {
    throw notListening(error, { host, port })
  }
  await new Promise((resolve) => server.close(resolve))
}

/** Listens, and gives the URL programs on this machine use. @throws PoolError port_in_use, config_invalid. */
export async function listen(app: FastifyInstance, settings: Settings): Promise<string> {
  try {
    await app.listen({ host: settings.host, port: settings.port })
  } catch (error) {
    throw notListening(error, settings)
  }
  const { port } = app.server.address() as net.AddressInfo
  return `${settings.tlsCert === undefined ? 'http' : 'https'}://${reachable(settings.host)}:${port}`
}

function notListening(error: unknown, { host, port }: Place): unknown {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'EADDRINUSE') {
    return new PoolError(
      'port_in_use',
      `Another program already listens on ${host}:${port}.`,
      `Stop it (ss -ltnp | grep ${port} names it), or give another with --port; --port 0 takes a free one.`,
    )
  }
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
    const what = `Cannot listen on ${host}:${port} (${code}).`
    return new PoolError('config_invalid', what, 'Give an address of this machine with --host and a port above 1023.')
  }
  return error
}

/**
 * With TLS our own worker would have to trust a certificate that need not name this machine; it has a door on loopback
 * instead, which answers worker sessions and nothing else. They are encrypted in themselves.
 */
export async function listenForOwnWorker(door: Pick<WorkerDoor<never>, 'attach'>, closers: Closers): Promise<string> {
  const server = http.createServer((_request, response) => response.writeHead(404).end())
  door.attach(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.add('own worker’s door', () => server.close())
  return `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`
}

/** An address to connect to, for one to listen on: all addresses include loopback. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return net.isIPv6(host) ? `[${host}]` : host
}

/** The URL that goes into invites: what the operator says, else this machine's name when others can reach it. */
export function inviteUrl(url: string, { publicUrl, host }: Settings): string {
  if (publicUrl !== undefined) return publicUrl
  if (host !== '0.0.0.0' && host !== '::') return url
  const named = new URL(url)
  named.hostname = os.hostname()
  return named.origin
}

/** Takes no new connection, lets what is under way end, then cuts what is left. */
export async function closeServer(app: FastifyInstance, runtime: Runtime): Promise<void> {
  await withDeadline(runtime, binLimits.closeMsMax, new Error('still open'), app.close()).catch(() => {})
  app.server.closeAllConnections()
}
