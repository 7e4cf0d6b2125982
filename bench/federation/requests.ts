import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import path from 'node:path'
import { signEnvelope } from '../../src/federation/envelope.ts'
import type { PoolId } from '../../src/protocol/index.ts'
import { signerOf, signersEach } from './signers.ts'

interface Ask {
  readonly method: string
  readonly target: string
  readonly headers: Record<string, string>
  readonly body: Buffer
}

/** One kind of request at the pool's door: CPU of the pool's process and of its database, and what plain Fastify takes for the same. */
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

const atOnce = 32
const round = (n: number) => Math.round(n * 10) / 10

/** Sends all, `atOnce` at a time over connections that stay. */
async function send(port: number, asks: readonly Ask[]): Promise<Record<string, number>> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: atOnce })
  const status: Record<string, number> = {}
  const one = ({ method, target, headers, body }: Ask) =>
    new Promise<string>((resolve) => {
      const length = { 'content-length': String(body.length) }
      const request = http.request({
        port,
        host: '127.0.0.1',
        method,
        path: target,
        headers: { ...headers, ...length },
        agent,
      })
      request.on('error', () => resolve('cut'))
      request.on('response', (response) => response.resume().on('close', () => resolve(String(response.statusCode))))
      request.end(body)
    })
  let next = 0
  const walk = async () => {
    for (let ask = asks[next++]; ask; ask = asks[next++]) {
      const said = await one(ask)
      status[said] = (status[said] ?? 0) + 1
    }
  }
  await Promise.all(Array.from({ length: atOnce }, walk))
  agent.destroy()
  return status
}

const json = { 'content-type': 'application/json' }
const verifyPath = '/v1/federation/verify'

/** What comes in through the door, valid and garbage, and how long a revocation takes. */
export async function measureRequests(light: boolean) {
  const child = fork(path.join(import.meta.dirname, 'door.ts'), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const tell = async <T>(wish: string): Promise<T> => {
    child.send(wish)
    return (await once(child, 'message'))[0] as T
  }
  const [{ id, door, plain }] = (await once(child, 'message')) as [{ id: PoolId; door: number; plain: number }]
  const each = light ? 5 : 25

  function signed(version: 1 | 2, n: number, method: 'GET' | 'POST', target: string): Ask {
    const signer = signerOf(version, n)
    const challenge = { atom_id: signer.id, challenge_b64: randomBytes(32).toString('base64') }
    const body = method === 'GET' ? Buffer.alloc(0) : Buffer.from(JSON.stringify(challenge))
    const contentType = method === 'GET' ? '' : json['content-type']
    const stamp = { timestamp: Math.floor(Date.now() / 1_000), nonce: randomBytes(8).toString('hex') }
    const parts = { version, audience: id, method, target, contentType, body, ...stamp }
    const { headers } = signEnvelope(signer, parts)
    return { method, target, headers: { ...headers, ...(contentType ? json : {}) }, body }
  }
  const many = (make: (n: number) => Ask, count: number) => Array.from({ length: count }, (_, n) => make(n))
  const garbage = (headers: (n: number) => Record<string, string>, count: number, bytes?: number) =>
    many((n) => {
      const like = signed(2, n % signersEach, 'POST', verifyPath)
      return { ...like, headers: headers(n), body: bytes ? Buffer.alloc(bytes, 0x20) : like.body }
    }, count)
  const forged = (n: number, more: Record<string, string> = {}) => {
    const { headers } = signed(2, n % signersEach, 'POST', verifyPath)
    return { ...headers, 'x-iamine-signature': randomBytes(64).toString('base64'), ...more }
  }
  const rows: Measured[] = []
  async function measure(kind: string, make: () => readonly Ask[]) {
    const asks = make()
    const before = await tell<{ poolUs: number; databaseUs: number }>('cpu')
    const since = performance.now()
    const status = await send(door, asks)
    const seconds = (performance.now() - since) / 1_000
    const after = await tell<{ poolUs: number; databaseUs: number }>('cpu')
    const plainSince = performance.now()
    await send(plain, asks)
    const plainSeconds = (performance.now() - plainSince) / 1_000
    const last = await tell<{ poolUs: number }>('cpu')
    const count = asks.length
    const row = {
      kind,
      requests: count,
      status,
      perSecond: Math.round(count / seconds),
      cpuUs: round((after.poolUs - before.poolUs) / count),
      databaseUs: round((after.databaseUs - before.databaseUs) / count),
      plainPerSecond: Math.round(count / plainSeconds),
      plainCpuUs: round((last.poolUs - after.poolUs) / count),
    }
    rows.push(row)
    console.log(JSON.stringify(row))
  }
  const all = signersEach * each
  // once each: what a first message costs more, and just-in-time compilation, is not measured
  for (const version of [1, 2] as const)
    await send(
      door,
      many((n) => signed(version, n, 'POST', verifyPath), signersEach),
    )
  await send(
    plain,
    many((n) => signed(2, n, 'POST', verifyPath), signersEach),
  )
  const valid = (version: 1 | 2, method: 'GET' | 'POST', target: string) => () =>
    many((n) => signed(version, n % signersEach, method, target), all)
  await measure('verify, signed in version 1', valid(1, 'POST', verifyPath))
  await measure('verify, signed in version 2, answer signed', valid(2, 'POST', verifyPath))
  await measure('info, signed in version 2, answer signed', valid(2, 'GET', '/v1/federation/info'))
  const short = { 'x-iamine-signature': randomBytes(63).toString('base64') }
  const stranger = randomBytes(32).toString('hex')
  const network = (n: number) => `10.${n >> 14}.${(n >> 6) & 255}`
  const kinds: [string, () => readonly Ask[]][] = [
    ['garbage: no headers', () => garbage(() => json, all)],
    ['garbage: signature of a wrong length', () => garbage((n) => forged(n, short), all)],
    ['garbage: a key nobody knows', () => garbage((n) => forged(n, { 'x-iamine-atom-id': stranger }), all)],
    [
      "garbage: forged under a peer's id, each network little enough to be looked at",
      () => garbage((n) => forged(n, { 'x-forwarded-for': network(n) }), all),
    ],
    [
      "garbage: forged under a peer's id, all from one network",
      () => garbage((n) => forged(n, { 'x-forwarded-for': '192.0.2' }), all),
    ],
    ['garbage: a body of 1 MiB and one byte', () => garbage((n) => forged(n), light ? 50 : 200, 1_048_577)],
  ]
  for (const [kind, make] of kinds) await measure(kind, make)
  const revocations: { streamMs: number; elsewhereMs: number }[] = []
  for (let n = 0; n < (light ? 2 : 5); n++) {
    const { streamMs, elsewhereMs } = await tell<{ streamMs: number; elsewhereMs: number }>('revoke')
    revocations.push({ streamMs: round(streamMs), elsewhereMs: round(elsewhereMs) })
  }
  console.log(JSON.stringify({ revocations }))
  child.disconnect()
  await once(child, 'exit')
  return { requests: rows, revocations }
}
