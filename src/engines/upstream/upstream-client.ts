import { type Dispatcher, errors, Pool } from 'undici'
import { PoolError } from '#protocol'

/** Silences an upstream is allowed, in milliseconds. */
export interface UpstreamPatience {
  readonly firstByteMsMax: number
  readonly idleMsMax: number
}

/** The API root of an upstream: `http://host:11434`, `https://host/api/v1` and with a slash at the end all do. */
export function apiRoot(baseUrl: string): URL {
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : undefined
  const fix = 'Give the address of its API, like http://127.0.0.1:11434/v1.'
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new PoolError('config_invalid', 'The address of the upstream is no http or https URL.', fix)
  }
  if (url.username || url.password) {
    throw new PoolError('config_invalid', "The upstream's address holds credentials.", 'Give its API key apart.')
  }
  const path = url.pathname.replace(/\/+$/, '')
  url.pathname = /\/v\d+$/.test(path) ? path : `${path}/v1`
  url.search = ''
  url.hash = ''
  return url
}

/** One upstream over kept-alive connections. Redirects are not followed: the key would follow them. */
export class UpstreamClient implements AsyncDisposable {
  readonly #pool: Pool
  readonly #path: string
  readonly #key: string | undefined

  constructor(root: URL, key: string | undefined, connections: number, patience: UpstreamPatience) {
    this.#path = root.pathname
    this.#key = key
    this.#pool = new Pool(root.origin, {
      connections,
      headersTimeout: patience.firstByteMsMax,
      bodyTimeout: patience.idleMsMax,
    })
  }

  get(path: string, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    return this.#request({ method: 'GET', path: `${this.#path}${path}`, headers: this.#headers(), signal })
  }

  post(path: string, body: object, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const headers = { ...this.#headers(), 'content-type': 'application/json' }
    return this.#request({
      method: 'POST',
      path: `${this.#path}${path}`,
      headers,
      body: JSON.stringify(body),
      signal,
    })
  }

  /** The text without what nobody may see. */
  hideKey(text: string): string {
    return this.#key ? text.replaceAll(this.#key, '[key]') : text
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.destroy()
  }

  #headers(): Record<string, string> {
    const common = { accept: 'application/json, text/event-stream', 'user-agent': 'lichen' }
    return this.#key ? { ...common, authorization: `Bearer ${this.#key}` } : common
  }

  async #request(options: Dispatcher.RequestOptions & { signal: AbortSignal }): Promise<Dispatcher.ResponseData> {
    try {
      return await this.#pool.request(options)
    } catch (error) {
      options.signal.throwIfAborted()
      throw outage(error)
    }
  }
}

/** What went wrong between us and the upstream, without addresses or contents. Another worker may have more luck. */
export function outage(error: unknown): Error {
  if (error instanceof errors.HeadersTimeoutError) return new Error('the upstream did not answer in time')
  if (error instanceof errors.BodyTimeoutError) return new Error('the upstream fell silent within its answer')
  const code = (error as { code?: unknown }).code
  return new UpstreamAway(`the upstream cannot be reached (${typeof code === 'string' ? code : 'connection lost'})`)
}

/** The connection failed: the upstream may be gone altogether. */
export class UpstreamAway extends Error {}

/** The upstream broke its own protocol, or our limits. */
export class UpstreamFault extends Error {}

/**
 * A body as it comes. A loop that leaves early leaves the body open: it is the caller's to destroy, or to let end.
 */
export async function* chunksOf(
  body: Dispatcher.ResponseData['body'],
  bytesMax: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, void> {
  let bytes = 0
  try {
    for await (const chunk of body.iterator({ destroyOnReturn: false })) {
      bytes += (chunk as Buffer).length
      if (bytes > bytesMax) throw new UpstreamFault('the upstream said more than it may')
      yield chunk as Buffer
    }
  } catch (error) {
    signal.throwIfAborted()
    throw error instanceof UpstreamFault ? error : outage(error)
  }
}

/** The whole body of a short answer. */
export async function readText(
  body: Dispatcher.ResponseData['body'],
  bytesMax: number,
  signal: AbortSignal,
): Promise<string> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of chunksOf(body, bytesMax, signal)) chunks.push(chunk)
  } finally {
    body.destroy()
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** The same as JSON. */
export async function readJson(
  body: Dispatcher.ResponseData['body'],
  bytesMax: number,
  signal: AbortSignal,
): Promise<unknown> {
  const text = await readText(body, bytesMax, signal)
  try {
    return JSON.parse(text)
  } catch {
    throw new UpstreamFault('the upstream sent something that is not JSON')
  }
}
