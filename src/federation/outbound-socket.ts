import http from 'node:http'
import https from 'node:https'
import { isIP } from 'node:net'

/** Where a request goes: a URL that was judged, and the one judged address the connection is made to. */
export interface Whither {
  /** `https://pool.example:8443`. */
  readonly origin: string
  readonly address: string
  readonly method: string
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** Connections to other pools, kept for their next call. One is shared only by calls to the same address under the same name. */
export class Sockets implements Disposable {
  readonly #agents = { 'http:': new http.Agent(keeping), 'https:': new https.Agent(keeping) }

  /** One request to one address. The name is only said (Host, SNI) and checked against the certificate, never looked up again. */
  send(
    { origin, address, method, target, headers, body }: Whither,
    signal: AbortSignal,
  ): Promise<http.IncomingMessage> {
    const { protocol, hostname, host, port } = new URL(origin)
    const name = hostname.replace(/^\[|\]$/g, '')
    const secure = protocol === 'https:'
    const options = {
      agent: this.#agents[secure ? 'https:' : 'http:'],
      host: address,
      port: port === '' ? (secure ? 443 : 80) : Number(port),
      method,
      path: target,
      headers: { ...headers, host, ...(method === 'GET' ? {} : { 'content-length': String(body.length) }) },
      maxHeaderSize: 16_384,
      ...(secure ? { servername: isIP(name) ? '' : name } : {}),
    }
    return new Promise((resolve, reject) => {
      const request = (secure ? https : http).request(options)
      const abort = () => request.destroy(signal.reason)
      signal.addEventListener('abort', abort, { once: true })
      request.once('close', () => signal.removeEventListener('abort', abort))
      request.once('response', resolve)
      request.on('error', reject)
      // a pool is no server of tunnels or other protocols
      request.once('upgrade', (_response, socket) => socket.destroy(new Error('the other side upgraded')))
      request.end(body)
      if (signal.aborted) abort()
    })
  }

  [Symbol.dispose](): void {
    for (const agent of Object.values(this.#agents)) agent.destroy()
  }
}

const keeping = { keepAlive: true, maxFreeSockets: 2, timeout: 60_000 } as const
