import { createHash, createPrivateKey, createPublicKey, randomBytes, sign, verify } from 'node:crypto'
import http from 'node:http'

interface Sent {
  method?: string
  path: string
  body?: unknown
  /** Seconds. */
  timestamp?: number
  nonce?: string
  /** A lent job: hop 1, and its own id as the chain. */
  lent?: boolean
  /** Another way it is said to have come. */
  chain?: string[]
  /** Headers put over those that were signed. */
  headers?: Record<string, string>
}

interface Received {
  path: string
  body: Record<string, unknown>
  headers: http.IncomingHttpHeaders
}

/** A pool of the live network: version 1 of the envelope, written from its description with Node alone and none of our code. */
export class ForeignPool implements AsyncDisposable {
  readonly #key: ReturnType<typeof createPrivateKey>
  readonly publicKeyHex: string
  readonly id: string
  /** What came in with a signature that holds. */
  readonly received: Received[] = []
  /** Requests that came in at all. */
  asked = 0
  url = 'https://foreign.example'
  /** Answers of paths beyond `handshake` and `verify`. */
  readonly answers = new Map<string, (body: Record<string, unknown>) => object>()
  #server: http.Server | undefined

  constructor(seed: Buffer) {
    const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
    this.#key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    const raw = createPublicKey(this.#key).export({ format: 'der', type: 'spki' }).subarray(-32)
    this.publicKeyHex = raw.toString('hex')
    this.id = createHash('sha256').update(raw).digest('hex')
  }

  introduction(more: object = {}): object {
    return {
      atom_id: this.id,
      name: 'foreign',
      pubkey_hex: this.publicKeyHex,
      url: this.url,
      molecule_id: 'm',
      capabilities: [{ kind: 'llm.chat', model: 'big', version: 'v1', worker_count: 1, max_tps: 3 }],
      request_reciprocation: false,
      ...more,
    }
  }

  /** Serves `info`, `handshake`, `verify` and what {@link answers} has, on loopback. */
  async listen(): Promise<this> {
    const server = http.createServer((request, response) => {
      const parts: Buffer[] = []
      request.on('data', (part: Buffer) => parts.push(part))
      request.on('end', () => {
        const { status, body } = this.#serve(request, Buffer.concat(parts))
        response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
      })
    })
    this.#server = server
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    if (typeof address !== 'object' || !address) throw new Error('no port')
    this.url = `http://127.0.0.1:${address.port}`
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server?.closeAllConnections()
    this.#server?.close()
  }

  #serve(request: http.IncomingMessage, bytes: Buffer): { status: number; body: object } {
    this.asked++
    const { method = '', url: path = '', headers } = request
    const { request_reciprocation: _, ...self } = this.introduction() as Record<string, unknown>
    if (path === '/v1/federation/info')
      return { status: 200, body: { mode: 'active', ...self, hop_max: 2, nonce_window_sec: 60, schema: 1 } }
    if (method === 'GET') return { status: 404, body: { error: 'not here' } }
    const body = JSON.parse(bytes.toString()) as Record<string, unknown>
    const sender = String(headers['x-iamine-atom-id'])
    const key = path === '/v1/federation/handshake' ? String(body.pubkey_hex) : this.#keys.get(sender)
    if (!key || createHash('sha256').update(Buffer.from(key, 'hex')).digest('hex') !== sender)
      return { status: 401, body: { error: 'unknown atom' } }
    const names = ['timestamp', 'nonce', 'hop', 'forward-chain'] as const
    const stamps = names.map((name) => String(headers[`x-iamine-${name}`] ?? (name === 'hop' ? '0' : '')))
    const signed = Buffer.concat([Buffer.from(`${[method, path, ...stamps].join('\n')}\n`), bytes])
    if (!verify(null, signed, keyOf(key), Buffer.from(String(headers['x-iamine-signature']), 'base64')))
      return { status: 401, body: { error: 'signature' } }
    const known = this.#keys.has(sender)
    this.#keys.set(sender, key)
    this.received.push({ path, body, headers })
    if (path === '/v1/federation/handshake') {
      const shaken = { ok: true, peer_trust_level: 1, signature_verified: true, reciprocation_scheduled: false }
      return { status: 200, body: { ...shaken, already_known: known, self } }
    }
    const answer = this.answers.get(path)
    return answer ? { status: 200, body: answer(body) } : { status: 404, body: { error: 'not here' } }
  }

  readonly #keys = new Map<string, string>()

  /** The answer to `verify`, as version 1 gives it. */
  prove({ challenge_b64 }: Record<string, unknown>): object {
    const challenge = Buffer.from(String(challenge_b64), 'base64')
    const digest = createHash('sha256').update(challenge).update(this.id, 'ascii').digest()
    const signed = sign(null, digest, this.#key).toString('base64')
    return { ok: true, echo_challenge_b64: challenge_b64, signed_response_b64: signed, self_atom_id: this.id }
  }

  /** Signs and sends one request; the answer as JSON. */
  async send(base: string, sent: Sent): Promise<{ status: number; body: Record<string, unknown> }> {
    const { method = 'POST', path } = sent
    const body = sent.body === undefined ? '' : JSON.stringify(sent.body)
    const timestamp = sent.timestamp ?? Math.floor(Date.now() / 1_000)
    const nonce = sent.nonce ?? randomBytes(8).toString('hex')
    const way = sent.chain ?? (sent.lent ? [this.id] : [])
    const [hop, chain] = [String(way.length), way.join(',')]
    const bytes = Buffer.from(`${method}\n${path}\n${timestamp}\n${nonce}\n${hop}\n${chain}\n${body}`)
    const headers = {
      'Content-Type': 'application/json',
      'X-IAMINE-Atom-Id': this.id,
      'X-IAMINE-Timestamp': String(timestamp),
      'X-IAMINE-Nonce': nonce,
      ...(way.length > 0 ? { 'X-IAMINE-Hop': hop, 'X-IAMINE-Forward-Chain': chain } : {}),
      'X-IAMINE-Signature': sign(null, bytes, this.#key).toString('base64'),
      ...sent.headers,
    }
    return new Promise((resolve, reject) => {
      const request = http.request(base + path, { method, headers }, (response) => {
        let text = ''
        response.on('data', (part) => {
          text += part
        })
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) as Record<string, unknown> }),
        )
      })
      request.on('error', reject)
      request.end(body)
    })
  }

  /** Whether a pool with this raw public key signed this challenge, as version 1 does. */
  static proved(publicKeyHex: string, id: string, challenge: Buffer, signature: string): boolean {
    const key = keyOf(publicKeyHex)
    const digest = createHash('sha256').update(challenge).update(id, 'ascii').digest()
    return verify(null, digest, key, Buffer.from(signature, 'base64'))
  }
}

function keyOf(publicKeyHex: string) {
  const x = Buffer.from(publicKeyHex, 'hex').toString('base64url')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
}
