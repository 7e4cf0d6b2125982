import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import path from 'node:path'
import type { Identity } from '../../src/crypto/index.ts'
import { signEnvelope } from '../../src/federation/envelope.ts'
import type { PoolId } from '../../src/protocol/index.ts'
import { besieged, revokedSigner, signerOf, signersEach } from './signers.ts'

interface Ask {
  readonly method: string
  readonly target: string
  readonly headers: Record<string, string>
  readonly body: Buffer
  /** The body is sent without saying how long it is. */
  readonly chunked?: true
}

/**
 * One kind of request at the pool's door: CPU of the pool's process and of its database, and what plain Fastify, which reads the body as
 * JSON and answers 200, takes for the same. HTTP, the kernel's part in it and new connections where the pool has closed one are all in both.
 */
export interface Measured {
  readonly kind: string
  readonly requests: number
  readonly status: Readonly<Record<string, number>>
  readonly perSecond: number
  readonly cpuUs: number
  readonly databaseUs: number
  readonly plainPerSecond: number
  readonly plainCpuUs: number
}

/** What a pool's own valid requests meet, one after the other, while something else goes on. */
export interface Besieged {
  readonly meanwhile: string
  readonly floodPerSecond: number
  readonly asked: number
  readonly answered: number
  readonly medianMs: number
  readonly worstMs: number
}

const atOnce = 32
const round = (n: number) => Math.round(n * 10) / 10

/** Connections that stay, as long as the other side lets them. */
class Line {
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: atOnce })
  readonly #port: number

  constructor(port: number) {
    this.#port = port
  }

  close(): void {
    this.#agent.destroy()
  }

  /** The status of the answer; `cut` where there is none. */
  one({ method, target, headers, body, chunked }: Ask): Promise<string> {
    return new Promise<string>((resolve) => {
      const length = chunked ? { 'transfer-encoding': 'chunked' } : { 'content-length': String(body.length) }
      const request = http.request({
        port: this.#port,
        host: '127.0.0.1',
        method,
        path: target,
        headers: { ...headers, ...length },
        agent: this.#agent,
      })
      let status = 'cut'
      request.on('error', () => resolve(status))
      request.on('response', (response) => {
        status = String(response.statusCode)
        response
          .on('error', () => {})
          .resume()
          .on('close', () => resolve(status))
      })
      request.end(body)
    })
  }

  /** Sends all, `atOnce` at a time, and counts what comes back. */
  async all(asks: readonly Ask[], status: Record<string, number> = {}): Promise<Record<string, number>> {
    let next = 0
    const walk = async () => {
      for (let ask = asks[next++]; ask; ask = asks[next++]) {
        const said = await this.one(ask)
        status[said] = (status[said] ?? 0) + 1
      }
    }
    await Promise.all(Array.from({ length: atOnce }, walk))
    return status
  }
}

const json = { 'content-type': 'application/json' }
const verifyPath = '/v1/federation/verify'
const handshakePath = '/v1/federation/handshake'
const adminPath = '/v1/federation/admin/request'

/** What comes in through the door, valid and garbage, what a pool meets while others flood under its id, and how long a revocation takes. */
export async function measureRequests(light: boolean) {
  const door = path.join(import.meta.dirname, 'door.ts')
  const child = fork(door, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const tell = async <T>(wish: string): Promise<T> => {
    child.send(wish)
    return (await once(child, 'message'))[0] as T
  }
  const [ports] = (await once(child, 'message')) as [{ id: PoolId; door: number; plain: number }]
  const { id } = ports
  const pool = new Line(ports.door)
  const plain = new Line(ports.plain)

  function signedBy(signer: Identity, version: 1 | 2, method: 'GET' | 'POST', target: string, said: object): Ask {
    const body = method === 'GET' ? Buffer.alloc(0) : Buffer.from(JSON.stringify(said))
    const contentType = method === 'GET' ? '' : json['content-type']
    const stamp = { timestamp: Math.floor(Date.now() / 1_000), nonce: randomBytes(8).toString('hex') }
    const parts = { version, audience: id, method, target, contentType, body, ...stamp }
    const { headers } = signEnvelope(signer, parts)
    return { method, target, headers: { ...headers, ...(contentType ? json : {}) }, body }
  }
  const challenge = (signer: Identity) => ({
    atom_id: signer.id,
    challenge_b64: randomBytes(32).toString('base64'),
  })
  const signed = (version: 1 | 2, n: number, method: 'GET' | 'POST', target: string): Ask => {
    const signer = signerOf(version, n)
    return signedBy(signer, version, method, target, challenge(signer))
  }
  const many = (make: (n: number) => Ask, count: number) => Array.from({ length: count }, (_, n) => make(n))
  const rows: Measured[] = []

  /** Rounds of the pool and of plain Fastify in turns, so that whatever else the machine does meets both; the first is not counted. */
  async function measure(kind: string, count: number, make: (n: number) => Ask) {
    const rounds = light ? 4 : 10
    const each = Math.ceil(count / rounds)
    const status: Record<string, number> = {}
    const sum = { us: 0, databaseUs: 0, ms: 0, plainUs: 0, plainMs: 0 }
    for (let turn = 0; turn <= rounds; turn++) {
      const asks = many((n) => make(turn * each + n), each)
      const before = await tell<{ poolUs: number; databaseUs: number }>('cpu')
      const since = performance.now()
      await pool.all(asks, turn === 0 ? {} : status)
      const between = performance.now()
      const after = await tell<{ poolUs: number; databaseUs: number }>('cpu')
      const plainSince = performance.now()
      await plain.all(asks)
      const end = performance.now()
      const last = await tell<{ poolUs: number }>('cpu')
      if (turn === 0) continue
      sum.us += after.poolUs - before.poolUs
      sum.databaseUs += after.databaseUs - before.databaseUs
      sum.ms += between - since
      sum.plainUs += last.poolUs - after.poolUs
      sum.plainMs += end - plainSince
    }
    const requests = each * rounds
    const row = {
      kind,
      requests,
      status,
      perSecond: Math.round((requests / sum.ms) * 1_000),
      cpuUs: round(sum.us / requests),
      databaseUs: round(sum.databaseUs / requests),
      plainPerSecond: Math.round((requests / sum.plainMs) * 1_000),
      plainCpuUs: round(sum.plainUs / requests),
    }
    rows.push(row)
    console.log(JSON.stringify(row))
  }

  const all = signersEach * (light ? 4 : 20)
  // once each: what a first message costs more, and just-in-time compilation, is not measured
  for (const version of [1, 2] as const)
    await pool.all(many((n) => signed(version, n, 'POST', verifyPath), signersEach))
  const valid = (version: 1 | 2, method: 'GET' | 'POST', target: string) => (n: number) =>
    signed(version, n % signersEach, method, target)
  await measure('verify, signed in version 1', all, valid(1, 'POST', verifyPath))
  await measure('verify, signed in version 2, answer signed', all, valid(2, 'POST', verifyPath))
  await measure('info, signed in version 2, answer signed', all, valid(2, 'GET', '/v1/federation/info'))

  /** Valid but for what is put over its headers. */
  const like = (more: (n: number) => Record<string, string>, body?: Buffer) => (n: number) => {
    const ask = signed(2, n % signersEach, 'POST', verifyPath)
    return { ...ask, headers: { ...ask.headers, ...more(n) }, body: body ?? ask.body }
  }
  const forgery = () => ({ 'x-iamine-signature': randomBytes(64).toString('base64') })
  const network = (n: number) => ({ 'x-forwarded-for': `10.${n >> 14}.${(n >> 6) & 255}.1` })
  const ownNetwork = (n: number) => ({ 'x-forwarded-for': `11.${(n >> 8) & 255}.${n & 255}.1` })
  const bare = (body: Buffer) => (): Ask => ({ method: 'POST', target: verifyPath, headers: json, body })
  const small = Buffer.from(JSON.stringify(challenge(besieged)))
  const [megabyte, more] = [Buffer.alloc(1_048_576, 0x20), Buffer.alloc(1_048_577, 0x20)]
  const count = light ? 500 : 2_500
  const large = light ? 60 : 300
  await measure('garbage: no headers', count, bare(small))
  await measure(
    'garbage: a signature of a wrong length',
    count,
    like(() => ({ 'x-iamine-signature': randomBytes(63).toString('base64') })),
  )
  await measure(
    'garbage: a stamp of an hour ago',
    count,
    like(() => ({ 'x-iamine-timestamp': String(Math.floor(Date.now() / 1_000) - 3_600) })),
  )
  const stranger = randomBytes(32).toString('hex')
  await measure(
    'garbage: a key nobody knows',
    count,
    like(() => ({ ...forgery(), 'x-iamine-atom-id': stranger })),
  )
  await measure(
    'garbage: a pool that was revoked',
    count,
    like(() => ({ ...forgery(), 'x-iamine-atom-id': revokedSigner.id })),
  )
  await measure(
    'garbage: forged under the ids of a hundred peers, each network little enough to be looked at',
    count,
    like((n) => ({ ...forgery(), ...network(n) })),
  )
  await measure("garbage: forged under one peer's id, each from another network", count, (n) => {
    const ask = signedBy(besieged, 2, 'POST', verifyPath, challenge(besieged))
    return { ...ask, headers: { ...ask.headers, ...forgery(), ...ownNetwork(n) } }
  })
  await measure(
    'garbage: forged under the ids of a hundred peers, all from one network',
    count,
    like(() => ({ ...forgery(), 'x-forwarded-for': '192.0.2.1' })),
  )
  const introduced = (n: number) => {
    const signer = signerOf(2, 1_000 + (n % signersEach))
    const said = { atom_id: signer.id, name: 'x', pubkey_hex: signer.publicKey.toString('hex'), url: '' }
    return signedBy(signer, 2, 'POST', handshakePath, said)
  }
  await measure('garbage: handshakes of strangers, forged, each from another network', count, (n) => {
    const ask = introduced(n)
    return { ...ask, headers: { ...ask.headers, ...forgery(), ...ownNetwork(n) } }
  })
  await measure('garbage: handshakes of strangers, forged, all from one network', count, (n) => {
    const ask = introduced(n)
    return { ...ask, headers: { ...ask.headers, ...forgery(), 'x-forwarded-for': '192.0.3.1' } }
  })
  await measure('garbage: an admin request that is no JSON', count, () => ({
    ...bare(Buffer.from('{"action_type":'))(),
    target: adminPath,
  }))
  await measure('garbage: an admin request of nobody', count, () => ({
    ...bare(
      Buffer.from(
        JSON.stringify({
          request_id: `fadm_${randomBytes(8).toString('hex')}`,
          origin_pool_id: stranger,
          action_type: 'query_events',
          action_params: {},
        }),
      ),
    )(),
    target: adminPath,
  }))
  await measure('garbage: no headers, and a body of 1 MiB', large, bare(megabyte))
  await measure('garbage: a body of 1 MiB and one byte', large, like(forgery, more))
  await measure('garbage: a body of 1 MiB and one byte, its length not said', large, (n) => ({
    ...like(forgery, more)(n),
    chunked: true,
  }))

  const siege: Besieged[] = []
  /** `besieged` asks from a network of its own; what floods comes from everywhere, as fast as it is answered. */
  async function besiege(meanwhile: string, flood: ((n: number) => Ask) | undefined, line: Line) {
    const asked = light ? 6 : 18
    let [going, flooded] = [true, 0]
    const since = performance.now()
    const walk = async () => {
      while (going && flood) await line.one(flood(flooded++))
    }
    const floods = Array.from({ length: flood ? atOnce - 1 : 0 }, walk)
    const own = new Line(ports.door)
    const took: number[] = []
    let answered = 0
    for (let n = 0; n < asked; n++) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      const ask = signedBy(besieged, 2, 'POST', verifyPath, challenge(besieged))
      const start = performance.now()
      const status = await own.one({ ...ask, headers: { ...ask.headers, 'x-forwarded-for': '198.51.100.7' } })
      took.push(performance.now() - start)
      if (status === '200') answered++
    }
    going = false
    await Promise.all(floods)
    own.close()
    took.sort((a, b) => a - b)
    const row = {
      meanwhile,
      floodPerSecond: Math.round((flooded / (performance.now() - since)) * 1_000),
      asked,
      answered,
      medianMs: round(took[took.length >> 1] ?? 0),
      worstMs: round(took.at(-1) ?? 0),
    }
    siege.push(row)
    console.log(JSON.stringify(row))
  }
  const template = signedBy(besieged, 2, 'POST', verifyPath, challenge(besieged))
  const forgedUnder = (n: number) => ({
    ...template,
    headers: { ...template.headers, ...forgery(), ...ownNetwork(n) },
  })
  await besiege('nothing else', undefined, pool)
  await besiege('a flood at plain Fastify in the same process', forgedUnder, plain)
  await besiege('a flood under its id, each from another network', forgedUnder, pool)

  const revocations: { streamMs: number; elsewhereMs: number }[] = []
  for (let n = 0; n < (light ? 2 : 5); n++) {
    const { streamMs, elsewhereMs } = await tell<{ streamMs: number; elsewhereMs: number }>('revoke')
    revocations.push({ streamMs: round(streamMs), elsewhereMs: round(elsewhereMs) })
  }
  console.log(JSON.stringify({ revocations }))
  pool.close()
  plain.close()
  child.disconnect()
  await once(child, 'exit')
  return { requests: rows, besieged: siege, revocations }
}
