import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { Agent, type Dispatcher, request as send } from 'undici'
import type { Identity } from '#crypto'
import {
  curableRefusals,
  OrderSigner,
  orderHeader,
  orderKindOf,
  PoolError,
  type PriceList,
  parsePriceList,
  protocolLimits,
  timeSequence,
  toOpenAiError,
} from '#protocol'
import { deadlineSignal, type Runtime } from '#runtime'
import { binLimits } from './limits.ts'

export interface OrderProxyOptions {
  /** The pool, without `/v1`. */
  readonly poolUrl: string
  readonly payer: Identity
  /** The pool's own certificate (PEM), where it is on this machine: being that very one is enough. */
  readonly certificate?: string | undefined
  /** 0 takes a free one. */
  readonly port: number
  readonly runtime: Runtime
}

/** Said between two neighbours of a connection, and not passed on (RFC 9110 §7.6.1). */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
  'host',
  'content-length',
])

/**
 * A server on loopback that passes requests on to one pool and signs an order for each that costs something. Programs keep their own API key;
 * without one that the pool knows, nothing is ordered. Web pages are kept out: a foreign `Host` or `Origin` is refused.
 */
export class OrderProxy implements AsyncDisposable {
  readonly url: string
  readonly #options: OrderProxyOptions
  readonly #server: http.Server
  readonly #agent: Agent
  /** One for each API key, since prices and account belong to it. */
  readonly #signers = new Map<string, OrderSigner>()
  readonly #nextSeq: () => number

  private constructor(options: OrderProxyOptions, server: http.Server) {
    this.#options = options
    this.#server = server
    this.#nextSeq = timeSequence(options.runtime)
    this.#agent = new Agent({
      connect: { timeout: binLimits.proxyConnectMs, ...trust(options.certificate) },
      headersTimeout: binLimits.proxyAnswerMs,
      bodyTimeout: binLimits.proxyAnswerMs,
    })
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  /** @throws the system's error when the port cannot be had. */
  static async open(options: OrderProxyOptions): Promise<OrderProxy> {
    const server = http.createServer({
      requestTimeout: binLimits.proxyRequestMs,
      headersTimeout: binLimits.proxyRequestMs,
    })
    server.maxConnections = binLimits.proxyConnectionsMax
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(options.port, '127.0.0.1', resolve)
    })
    const proxy = new OrderProxy(options, server)
    server.on('request', (request, response) => void proxy.#serve(request, response))
    return proxy
  }

  /** Takes nothing new; answers under way may go on for `drainMs`, then they are cut. */
  async close(drainMs: number): Promise<void> {
    const ended = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeIdleConnections()
    const cut = this.#options.runtime.after(drainMs, () => this.#server.closeAllConnections(), { keepAlive: true })
    await ended
    cut.cancel()
    await this.#agent.destroy()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close(0)
  }

  async #serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const gone = new AbortController()
    response.once('close', () => {
      gone.abort()
      if (!this.#server.listening) setImmediate(() => this.#server.closeIdleConnections())
    })
    try {
      await this.#forward(request, response, gone.signal)
    } catch (error) {
      if (!response.headersSent && !gone.signal.aborted) refuse(response, refusalOf(error, this.#options.poolUrl))
      else response.destroy()
    }
  }

  async #forward(request: http.IncomingMessage, response: http.ServerResponse, gone: AbortSignal): Promise<void> {
    const path = request.url ?? ''
    refuseStrangers(request)
    const kind = request.method === 'POST' ? orderKindOf(path.split('?')[0] ?? '') : undefined
    const body = await readBody(request)
    const headers = headersToPool(request)
    const pass = async (): Promise<Dispatcher.ResponseData> => {
      const authorization = authorizationOf(request)
      const signer = kind && this.#signerFor(authorization)
      const order = kind && (await signer?.headerFor(kind, body, headers['x-lichen-assurance']))
      if (order) headers[orderHeader] = order
      return this.#send(path, request.method ?? 'GET', headers, body, gone)
    }
    const answer = await pass()
    const early = kind && (await refusalIn(answer))
    if (!early) return relay(answer, answer.body, response)
    if (!curableRefusals.includes(early.code)) return relay(answer, early.text, response)
    this.#signerFor(authorizationOf(request)).forgetPrices()
    const second = await pass()
    return relay(second, second.body, response)
  }

  #send(path: string, method: string, headers: Record<string, string>, body: Buffer | null, signal: AbortSignal) {
    const url = `${this.#options.poolUrl}${path}`
    return send(url, { method: method as Dispatcher.HttpMethod, headers, body, signal, dispatcher: this.#agent })
  }

  #signerFor(authorization: string): OrderSigner {
    const known = this.#signers.get(authorization)
    if (known) return known
    const { payer, runtime } = this.#options
    const fetchPrices = () => this.#askPrices(authorization)
    const signer = new OrderSigner({ payer, runtime, fetchPrices, nextSeq: this.#nextSeq })
    for (const oldest of this.#signers.keys()) {
      if (this.#signers.size < binLimits.proxyKeysMax) break
      this.#signers.delete(oldest)
    }
    this.#signers.set(authorization, signer)
    return signer
  }

  async #askPrices(authorization: string): Promise<PriceList> {
    const { runtime } = this.#options
    using deadline = deadlineSignal(runtime, binLimits.proxyConnectMs, new Error('the pool gives no prices'))
    const answer = await this.#send('/v1/prices', 'GET', { authorization }, null, deadline.signal)
    const text = await textOf(answer)
    const list = answer.statusCode === 200 ? parsePriceList(parsed(text)) : undefined
    if (list) return list
    throw new PricesRefused(answer.statusCode, text)
  }
}

const trust = (certificate: string | undefined) =>
  certificate === undefined
    ? {}
    : { ca: certificate, checkServerIdentity: () => undefined, allowPartialTrustChain: true }

/** What the pool said instead of its prices; the program is told the same. */
class PricesRefused extends Error {
  override readonly name = 'PricesRefused'
  readonly status: number
  readonly text: string

  constructor(status: number, text: string) {
    super(`the pool answered ${status} to GET /v1/prices`)
    this.status = status
    this.text = text
  }
}

/** A web page may send requests to loopback, also under a name of its own (DNS rebinding); its orders would be ours to pay. */
function refuseStrangers({ headers, url }: http.IncomingMessage): void {
  if (!url?.startsWith('/')) throw new PoolError('invalid_request', 'The request names no path.', 'Send `POST /v1/…`.')
  const hosts = [`http://${headers.host}`, ...(headers.origin === undefined ? [] : [headers.origin])]
  const strange = hosts.find((host) => !['127.0.0.1', 'localhost', '[::1]'].includes(URL.parse(host)?.hostname ?? ''))
  if (strange === undefined) return
  throw new PoolError(
    'host_not_allowed',
    'This proxy answers programs on this machine only.',
    'Use http://127.0.0.1 and its port.',
  )
}

async function readBody(request: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes > protocolLimits.bodyBytesMax) {
      const message = `The body is larger than ${protocolLimits.bodyBytesMax} bytes.`
      throw new PoolError('body_too_large', message, 'Send less at once.')
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** An order of the program's own is left out: this proxy signs, nobody else. */
function headersToPool({ headers }: http.IncomingMessage): Record<string, string> {
  const passed: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !hopByHop.has(name) && name !== orderHeader) passed[name] = String(value)
  }
  return passed
}

function authorizationOf({ headers }: http.IncomingMessage): string {
  const key = headers['x-api-key']
  return headers.authorization ?? (key === undefined ? '' : `Bearer ${key}`)
}

/** A refusal of the pool that signing anew might cure is read before anything of it is passed on. */
async function refusalIn(answer: Dispatcher.ResponseData): Promise<{ code: string; text: string } | undefined> {
  if (![400, 402, 409].includes(answer.statusCode)) return undefined
  const text = await textOf(answer)
  const value = parsed(text) as { error?: { code?: unknown } } | undefined
  return { code: String(value?.error?.code), text }
}

async function textOf({ body }: Dispatcher.ResponseData): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.length
    if (bytes > protocolLimits.bodyBytesMax) throw new Error('the pool says too much')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Passes the answer on as it comes; a reader that is slow slows the pool. */
async function relay(
  { statusCode, headers }: Dispatcher.ResponseData,
  body: Dispatcher.ResponseData['body'] | string,
  response: http.ServerResponse,
): Promise<void> {
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !hopByHop.has(name)) response.setHeader(name, value)
  }
  response.writeHead(statusCode)
  if (typeof body === 'string') response.end(body)
  else await pipeline(body, response)
}

function refusalOf(error: unknown, poolUrl: string): PoolError | PricesRefused {
  if (error instanceof PoolError || error instanceof PricesRefused) return error
  const message = `The pool at ${poolUrl} does not answer.`
  return new PoolError('pool_unreachable', message, 'Check that it runs and that the URL is right.')
}

function refuse(response: http.ServerResponse, why: PoolError | PricesRefused): void {
  const [status, text] =
    why instanceof PoolError ? [why.status, JSON.stringify(toOpenAiError(why.refusal))] : [why.status, why.text]
  response
    .writeHead(status >= 400 ? status : 502, { 'content-type': 'application/json', connection: 'close' })
    .end(text)
}
