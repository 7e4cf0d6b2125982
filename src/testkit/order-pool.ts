import http from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  checkOrder,
  decodeOrderHeader,
  type Order,
  orderHeader,
  orderKindOf,
  type PriceListJson,
  parseModelName,
  parseOpenAiRequest,
  SignatureChecker,
  toOpenAiError,
} from '#protocol'
import { alice, pool } from './receipt-sample.ts'

/** A small pool that takes orders signed by alice only, and answers in two pieces. */
export class OrderPool implements AsyncDisposable {
  readonly url: string
  /** Orders it honoured. */
  readonly orders: Order[] = []
  readonly requests: http.IncomingMessage[] = []
  prices = { prompt: 100n, completion: 400n }
  /** Numbers up to this one are taken. */
  usedSeq = 0
  readonly #server: http.Server

  private constructor(server: http.Server) {
    this.#server = server
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  static async open(): Promise<OrderPool> {
    const server = http.createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const opened = new OrderPool(server)
    server.on('request', (request, response) => void opened.#answer(request, response))
    return opened
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    this.requests.push(request)
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const path = request.url ?? ''
    const kind = orderKindOf(path)
    if (path === '/v1/prices') return sendJson(response, 200, this.priceList())
    if (!kind) return sendJson(response, 404, { path })
    const refusal = this.#refusalOf(kind, String(request.headers[orderHeader] ?? ''), Buffer.concat(chunks))
    if (refusal) return sendJson(response, refusal.code === 'order_replayed' ? 409 : 402, toOpenAiError(refusal))
    const stream = JSON.parse(Buffer.concat(chunks).toString()).stream === true
    if (!stream) return sendJson(response, 200, { choices: [{ message: { role: 'assistant', content: '5' } }] })
    response.writeHead(200, { 'content-type': 'text/event-stream', 'x-lichen-receipt': 'job' })
    for (const piece of ['5', '!']) {
      response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: piece } }] })}\n\n`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    response.end('data: [DONE]\n\n')
  }

  #refusalOf(kind: Order['kind'], header: string, body: Buffer) {
    const decoded = decodeOrderHeader(header)
    if (!decoded.ok) return decoded.refusal
    const parsed = parseOpenAiRequest(kind, body)
    if (!parsed.ok) return parsed.refusal
    const { order, salt } = decoded.header
    const { name, digest } = parseModelName(parsed.request.model)
    const refusal = checkOrder(order, {
      checker: new SignatureChecker(),
      now: Date.now(),
      poolKey: pool.publicKey,
      kind,
      model: name,
      digest: digest === undefined ? null : Buffer.from(digest, 'hex'),
      prices: this.prices,
      needed: 16n * this.prices.prompt,
      account: 'user:alice',
      payerKey: alice.publicKey,
      payerSignature: 'required',
      salt,
      body,
    })
    if (refusal) return refusal
    if ((order.message.seq ?? 0) <= this.usedSeq) {
      this.usedSeq = 0
      return { code: 'order_replayed', message: 'The number was used.', fix: 'Sign anew.' } as const
    }
    this.orders.push(order.message)
    return undefined
  }

  priceList(): PriceListJson {
    const { prompt, completion } = this.prices
    return {
      pool_id: pool.id,
      pool_key: pool.publicKey.toString('base64url'),
      account: 'user:alice',
      prices: [{ model: '*', prompt_token: String(prompt), completion_token: String(completion) }],
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

function sendJson(response: http.ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
