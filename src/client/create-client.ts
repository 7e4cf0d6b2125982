import { identityFromSeed } from '#crypto'
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
} from '#protocol'
import { type Runtime, systemRuntime } from '#runtime'

type Fetch = typeof globalThis.fetch

export interface ClientOptions {
  /** Where the pool is, with or without `/v1`. */
  readonly poolUrl: string
  /** API key of the pool; prices and account are asked for with it. */
  readonly apiKey: string
  /** 32 secret bytes of the payer's Ed25519 key, raw or as base64url. */
  readonly payerKey: Uint8Array | string
  /** What sends the requests; the global one unless given. */
  readonly fetch?: Fetch
  /** Gives a number it never gave before, for several processes that share a payer key; by the clock unless given. */
  readonly nextSeq?: () => number | Promise<number>
  readonly runtime?: Pick<Runtime, 'now' | 'randomBytes'>
}

/**
 * A `fetch` that signs an order for every request that costs something and leaves all others as they are: `new OpenAI({ baseURL, apiKey,
 * fetch: createClient({ poolUrl, apiKey, payerKey }) })`. Requests to other hosts are not signed. Throws a TypeError on a malformed URL or key;
 * a call rejects with a PoolError when the pool's prices cannot be read.
 */
export function createClient(options: ClientOptions): Fetch {
  const { apiKey, fetch = globalThis.fetch, runtime = systemRuntime } = options
  const pool = new URL(options.poolUrl.replace(/\/(?:v1\/?)?$/, ''))
  const payer = identityFromSeed(seedOf(options.payerKey))
  const fetchPrices = () => askPrices(`${pool.href.replace(/\/$/, '')}/v1/prices`, apiKey, fetch)
  const signer = new OrderSigner({ payer, fetchPrices, nextSeq: options.nextSeq ?? timeSequence(runtime), runtime })

  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input)
    const method = init?.method ?? (input instanceof Request ? input.method : 'GET')
    const kind = method === 'POST' && url.origin === pool.origin ? orderKindOf(pathBelow(pool, url)) : undefined
    if (!kind) return fetch(input, init)
    const request = new Request(input, init)
    const body = Buffer.from(await request.arrayBuffer())
    if (body.length > protocolLimits.bodyBytesMax)
      throw new TypeError(`the body is larger than ${protocolLimits.bodyBytesMax} bytes`)
    const send = async () => {
      const headers = new Headers(request.headers)
      const order = await signer.headerFor(kind, body, headers.get('x-lichen-assurance'))
      if (order !== undefined) headers.set(orderHeader, order)
      return fetch(request.url, { ...init, method, headers, body, signal: request.signal })
    }
    const response = await send()
    if (!(await isCurable(response))) return response
    signer.forgetPrices()
    return send()
  }
}

/** `/v1/…` of a URL, also where the pool lives below a path of a proxy. */
function pathBelow(pool: URL, url: URL): string {
  const base = pool.pathname.replace(/\/$/, '')
  return url.pathname.startsWith(`${base}/`) ? url.pathname.slice(base.length) : ''
}

function seedOf(key: Uint8Array | string): Buffer {
  return typeof key === 'string' ? Buffer.from(key.trim(), 'base64url') : Buffer.from(key)
}

/** Whether signing anew may help; the response stays readable. */
async function isCurable(response: Response): Promise<boolean> {
  if (![400, 402, 409].includes(response.status)) return false
  const refusal = (await response
    .clone()
    .json()
    .catch(() => undefined)) as { error?: { code?: unknown } } | undefined
  return curableRefusals.includes(String(refusal?.error?.code))
}

async function askPrices(url: string, apiKey: string, fetch: Fetch): Promise<PriceList> {
  const response = await fetch(url, { headers: { authorization: `Bearer ${apiKey}` } })
  const list = response.ok ? parsePriceList(await response.json().catch(() => undefined)) : undefined
  if (list) return list
  await response.body?.cancel().catch(() => undefined)
  throw new PoolError(
    'order_invalid',
    `The pool's prices cannot be read: GET /v1/prices answered ${response.status}.`,
    'Check the URL of the pool and the API key.',
  )
}
