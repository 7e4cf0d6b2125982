import { createHash, createPrivateKey, createPublicKey, randomBytes, sign, verify } from 'node:crypto'
import http from 'node:http'

interface Sent {
  method?: string
  path: string
  body?: unknown
  /** Seconds. */
  timestamp?: number
  nonce?: string
  /** Headers put over those that were signed. */
  headers?: Record<string, string>
}

/** A pool of the live network: version 1 of the envelope, written from its description with Node alone and none of our code. */
export class ForeignPool {
  readonly #key: ReturnType<typeof createPrivateKey>
  readonly publicKeyHex: string
  readonly id: string

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
      url: 'https://foreign.example',
      molecule_id: 'm',
      capabilities: [{ kind: 'llm.chat', model: 'big', version: 'v1', worker_count: 1, max_tps: 3 }],
      request_reciprocation: false,
      ...more,
    }
  }

  /** Signs and sends one request; the answer as JSON. */
  async send(base: string, sent: Sent): Promise<{ status: number; body: Record<string, unknown> }> {
    const { method = 'POST', path } = sent
    const body = sent.body === undefined ? '' : JSON.stringify(sent.body)
    const timestamp = sent.timestamp ?? Math.floor(Date.now() / 1_000)
    const nonce = sent.nonce ?? randomBytes(8).toString('hex')
    const bytes = Buffer.from(`${method}\n${path}\n${timestamp}\n${nonce}\n0\n\n${body}`)
    const headers = {
      'Content-Type': 'application/json',
      'X-IAMINE-Atom-Id': this.id,
      'X-IAMINE-Timestamp': String(timestamp),
      'X-IAMINE-Nonce': nonce,
      'X-IAMINE-Signature': sign(null, bytes, this.#key).toString('base64'),
      ...sent.headers,
    }
    return new Promise((resolve, reject) => {
      const request = http.request(base + path, { method, headers }, (response) => {
        let text = ''
        response.on('data', (part) => {
          text += part
        })
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) }))
      })
      request.on('error', reject)
      request.end(body)
    })
  }

  /** Whether a pool with this raw public key signed this challenge, as version 1 does. */
  static proved(publicKeyHex: string, id: string, challenge: Buffer, signature: string): boolean {
    const x = Buffer.from(publicKeyHex, 'hex').toString('base64url')
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
    const digest = createHash('sha256').update(challenge).update(id, 'ascii').digest()
    return verify(null, digest, key, Buffer.from(signature, 'base64'))
  }
}
