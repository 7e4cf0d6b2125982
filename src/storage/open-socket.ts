import net from 'node:net'
import tls from 'node:tls'
import type { Address } from './address.ts'
import { storageLimits } from './limits.ts'

/**
 * A socket whose `close` follows its `error` in the same turn. postgres.js 3.4.9 hands queries to a connection between
 * the two events, and those would wait for ever; and it schedules a write to a socket that is already null.
 */
function guarded<S extends net.Socket>(socket: S): S {
  const emit = socket.emit
  let over = false
  socket.emit = (event: string | symbol, ...args: unknown[]): boolean => {
    if (event !== 'error' && event !== 'close') return Reflect.apply(emit, socket, [event, ...args])
    if (over) return true
    over = true
    if (event === 'error') Reflect.apply(emit, socket, ['error', ...args])
    // "without error": postgres.js then rejects what it still holds
    return Reflect.apply(emit, socket, ['close', false])
  }
  return socket
}

const failure = (code: string, message: string) => Object.assign(new Error(message), { code })

/** A socket that fails as soon as somebody listens: postgres.js forgets a connection whose socket was never made. */
export function failedSocket(error: Error): net.Socket {
  const socket = guarded(new net.Socket())
  setImmediate(() => socket.destroy(error))
  return socket
}

function plainSocket(address: Address): net.Socket {
  if (address.host.startsWith('/')) return net.connect({ path: `${address.host}/.s.PGSQL.${address.port}` })
  return net.connect({ host: address.host, port: address.port, noDelay: true })
}

/** PostgreSQL's SSLRequest (protocol §55.2.10): length 8, code 80877103; the answer is one byte. */
const sslRequest = Buffer.from('0000000804d2162f', 'hex')

function askForTls(socket: net.Socket): Promise<boolean> {
  return new Promise((resolve, reject) => {
    socket.setTimeout(storageLimits.connectDeadlineMs, () =>
      socket.destroy(failure('CONNECT_TIMEOUT', 'the server did not answer the TLS request')),
    )
    socket.once('error', reject)
    socket.once('close', () => reject(failure('CONNECTION_CLOSED', 'the server closed the connection')))
    socket.once('data', (answer) => resolve(answer.length === 1 && answer[0] === 0x53))
    socket.write(sslRequest)
  })
}

function upgraded(socket: net.Socket, address: Address): Promise<tls.TLSSocket> {
  const verify = address.tls === 'verify-ca' || address.tls === 'verify-full'
  return new Promise((resolve, reject) => {
    const secure = tls.connect({
      socket,
      ...(net.isIP(address.host) ? {} : { servername: address.host }),
      rejectUnauthorized: verify,
      ...(address.ca === undefined ? {} : { ca: address.ca }),
      ...(address.tls === 'verify-ca' ? { checkServerIdentity: () => undefined } : {}),
    })
    secure.once('error', reject)
    secure.once('secureConnect', () => {
      secure.removeListener('error', reject)
      resolve(secure)
    })
  })
}

/** Opens a connection for postgres.js. Never rejects: a failure is a socket that fails. */
export async function openSocket(address: Address): Promise<net.Socket> {
  const socket = plainSocket(address)
  if (address.tls === 'disable') return guarded(socket)
  try {
    const willing = await askForTls(socket)
    socket.removeAllListeners()
    if (willing) return guarded(await upgraded(socket, address))
    if (address.tls !== 'prefer') throw failure('ERR_TLS_REFUSED', 'the server offers no TLS')
    return guarded(socket)
  } catch (error) {
    socket.on('error', () => {})
    socket.destroy()
    return failedSocket(error instanceof Error ? error : new Error(String(error)))
  }
}
