import { createHash, createPublicKey, randomBytes, verify as verifyAsNode } from 'node:crypto'
import http from 'node:http'
import { gzipSync } from 'node:zlib'
import { ed25519 } from '@noble/curves/ed25519.js'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { federationLimits } from '#federation'
import { signEnvelope } from '../../federation/envelope.ts'
import { FederatedPool, loopbackHosts } from '../../testkit/federated-pool.ts'
import { ForeignPool } from '../../testkit/foreign-pool.ts'

const [handshake, verify, job] = ['/v1/federation/handshake', '/v1/federation/verify', '/v1/federation/job']
let anna: FederatedPool
let bert: FederatedPool
beforeAll(async () => {
  ;[anna, bert] = await Promise.all([FederatedPool.open('anna'), FederatedPool.open('bert')])
  for (const pool of [anna, bert])
    pool.federation.serve(job, { trustMin: 2, bucket: 'jobs', reply: () => ({ status: 200, body: {}, headers: [] }) })
})
afterAll(async () => {
  await Promise.all([anna, bert].map((pool) => pool[Symbol.asyncDispose]()))
})

async function acquainted(...pools: FederatedPool[]): Promise<ForeignPool> {
  const mallory = new ForeignPool(randomBytes(32))
  for (const { url } of pools) await mallory.send(url, { path: handshake, body: mallory.introduction() })
  return mallory
}
const challenge = (pool: { id: string }) => ({ atom_id: pool.id, challenge_b64: 'AAECAw==' })
const once = () => ({ nonce: randomBytes(8).toString('hex'), timestamp: Math.floor(Date.now() / 1_000) })

/** Bytes as they are, over one connection. */
function raw(url: string, target: string, headers: string[], body: Buffer): Promise<{ status: number; text: string }> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const request = http.request({ hostname, port, method: 'POST', path: target, headers }, (response) => {
      let text = ''
      response.on('data', (part) => {
        text += part
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    request.on('error', reject)
    request.end(body)
  })
}

/** A message, of anna to bert where nothing else is said, as it lies on the wire. */
function letter(version: 1 | 2, path: string, body: object, { from = anna.identity, audience = bert.id } = {}) {
  const bytes = Buffer.from(JSON.stringify(body))
  const parts = { method: 'POST', target: path, contentType: 'application/json', body: bytes }
  const { headers } = signEnvelope(from, { version, ...parts, ...once(), audience })
  const list = Object.entries(headers).flat()
  return {
    headers: [...list, 'Content-Type', 'application/json', 'Content-Length', String(bytes.length), 'Host', 'x'],
    body: bytes,
  }
}

test('a recorded message under another sender’s name is nobody’s', async () => {
  const [mallory, other] = [await acquainted(anna), await acquainted(anna)]
  const sent = { path: verify, body: challenge(mallory), ...once() }
  expect((await mallory.send(anna.url, sent)).status).toBe(200)
  const renamed = { ...sent, headers: { 'X-IAMINE-Atom-Id': other.id } }
  expect((await mallory.send(anna.url, renamed)).body).toEqual({ error: 'signature: bad_signature' })
  expect((await mallory.send(anna.url, sent)).body).toEqual({ error: 'signature: replayed' })
})

test('what version 2 says to one pool counts nowhere else; in version 1 it proves a key and no more', async () => {
  await anna.federation.office.add(bert.url)
  const carl = await FederatedPool.open('carl')
  await anna.federation.office.add(carl.url)
  const said = letter(2, verify, challenge(anna))
  expect((await raw(bert.url, verify, said.headers, said.body)).status).toBe(200)
  expect(await raw(carl.url, verify, said.headers, said.body)).toMatchObject({ status: 401, text: /bad_signature/ })
  await carl[Symbol.asyncDispose]()
  const mallory = await acquainted(anna, bert)
  const old = { path: verify, body: challenge(mallory), ...once() }
  const [here, there] = [await mallory.send(anna.url, old), await mallory.send(bert.url, old)]
  expect([here.status, there.status]).toEqual([200, 200])
  expect(there.body.signed_response_b64).not.toBe(here.body.signed_response_b64)
})

test('a stamp of more than a minute ago, or ahead, is not fresh', async () => {
  const mallory = await acquainted(anna)
  const now = Math.floor(Date.now() / 1_000)
  for (const timestamp of [now - 65, now + 65, now - 86_400])
    expect((await mallory.send(anna.url, { path: verify, body: challenge(mallory), timestamp })).body).toEqual({
      error: 'signature: not_fresh',
    })
})

test('a flood of fresh nonces ends at sixty a minute, and only for who floods', async () => {
  const [mallory, other] = [await acquainted(bert), await acquainted(bert)]
  const statuses: number[] = []
  for (let n = 0; n < 64; n++)
    statuses.push((await mallory.send(bert.url, { path: verify, body: challenge(mallory) })).status)
  expect(statuses.at(-1)).toBe(429)
  expect(statuses.filter((status) => status === 200).length).toBeLessThanOrEqual(61)
  expect((await other.send(bert.url, { path: verify, body: challenge(other) })).status).toBe(200)
})

test('headers that stand twice, paths that are written otherwise, queries and swapped bodies are refused', async () => {
  const said = letter(2, verify, challenge(anna))
  const twice = [...said.headers, 'X-IAMINE-Nonce', 'ff'.repeat(8)]
  expect(await raw(bert.url, verify, twice, said.body)).toMatchObject({ status: 401, text: /duplicate_header/ })
  expect((await raw(bert.url, `${verify}?x=1`, said.headers, said.body)).text).toContain('bad_signature')
  for (const target of [
    '/v1/federation//verify',
    '/v1/federation/%76erify',
    '/v1/federation/./verify',
    '/V1/federation/verify',
  ])
    expect([400, 401, 404]).toContain((await raw(bert.url, target, said.headers, said.body)).status)
  const swapped = Buffer.from(said.body.toString().replace('AAECAw==', 'AAECBA=='))
  expect(await raw(bert.url, verify, said.headers, swapped)).toMatchObject({ status: 401, text: /bad_signature/ })
  const untyped = said.headers.map((one) => (one === 'application/json' ? 'application/json; v=2' : one))
  expect((await raw(bert.url, verify, untyped, said.body)).text).toContain('bad_signature')
})

test('a pool that was met at its address is heard from there, however many forge under its id before its first word', async () => {
  const carl = await FederatedPool.open('carl')
  // one that calls nobody back
  const dora = await FederatedPool.open('dora', { policy: { httpHosts: [], privateRanges: [] } })
  await carl.federation.office.add(dora.url)
  const forger = new ForeignPool(randomBytes(32))
  const statuses: number[] = []
  for (let n = 0; n < federationLimits.forgeriesPerMinute + 40; n++) {
    const headers = { 'X-IAMINE-Envelope': '2', 'X-IAMINE-Atom-Id': dora.id, 'X-Forwarded-For': `10.0.${n}` }
    statuses.push((await forger.send(carl.url, { path: verify, body: challenge(dora), headers })).status)
  }
  expect(statuses.at(-1)).toBe(429)
  const said = letter(2, verify, challenge(dora), { from: dora.identity, audience: carl.id })
  expect((await raw(carl.url, verify, said.headers, said.body)).status).toBe(200)
  await Promise.all([carl, dora].map((pool) => pool[Symbol.asyncDispose]()))
})

test('a job that has come too far, or has been here, is not taken', async () => {
  const [mallory, between] = [await acquainted(bert), await acquainted(bert)]
  await bert.federation.office.promote(mallory.id, 2, 'owner.key')
  const body = { origin_pool_id: mallory.id, origin_request_id: 'r' }
  const way = (ids: string[]) => ({ 'X-IAMINE-Hop': String(ids.length), 'X-IAMINE-Forward-Chain': ids.join(',') })
  // a header that was changed on the way is no way at all
  const far = { path: job, body, lent: true, headers: way([between.id, mallory.id]) }
  expect((await mallory.send(bert.url, far)).body).toEqual({ error: 'signature: bad_signature' })
  const lent = (chain: string[]) => mallory.send(bert.url, { path: job, body, chain })
  expect(await lent([between.id, mallory.id])).toEqual({ status: 409, body: { error: 'signature: hop_limit' } })
  expect(await lent([bert.id, mallory.id])).toEqual({ status: 409, body: { error: 'signature: loop' } })
  expect((await lent([mallory.id])).status).toBe(200)
  expect((await lent([between.id])).body).toEqual({ error: 'signature: malformed_header' })
  const elsewhere = { path: verify, body: challenge(mallory), chain: [mallory.id] }
  expect((await mallory.send(bert.url, elsewhere)).body).toEqual({ error: 'signature: hop_not_allowed' })
})

test('a pool that is not trusted with jobs, or is not any more, has none', async () => {
  const mallory = await acquainted(bert)
  const ask = () =>
    mallory.send(bert.url, { path: job, lent: true, body: { origin_pool_id: mallory.id, origin_request_id: 'x' } })
  expect((await ask()).status).toBe(403)
  await bert.federation.office.promote(mallory.id, 2, 'owner.key')
  expect((await ask()).status).toBe(200)
  await bert.federation.office.demote(mallory.id, 1, 'owner.key')
  expect((await ask()).status).toBe(403)
})

test('nobody writes accounts or makes sessions here, however much that pool is trusted', async () => {
  const mallory = await acquainted(bert)
  await bert.federation.office.promote(mallory.id, 4, 'owner.key')
  const paths = ['/v1/federation/accounts/ingest', '/v1/federation/accounts/jwt/session']
  const asked = () => Promise.all(paths.map((path) => mallory.send(bert.url, { path, body: challenge(mallory) })))
  expect((await asked()).map(({ status }) => status)).toEqual([403, 403])
  bert.kill()
  expect((await asked()).map(({ status }) => status)).toEqual([503, 503])
  bert.kill(false)
})

test('two hundred new keys from one network are one stranger', async () => {
  const carl = await FederatedPool.open('carl')
  const statuses: number[] = []
  for (let n = 0; n < 200; n++) {
    const sybil = new ForeignPool(randomBytes(32))
    statuses.push((await sybil.send(carl.url, { path: handshake, body: sybil.introduction() })).status)
  }
  expect(statuses.filter((status) => status === 200).length).toBeLessThanOrEqual(30)
  expect(statuses.at(-1)).toBe(429)
  expect(carl.federation.peers.list().length).toBeLessThanOrEqual(30)
  await carl[Symbol.asyncDispose]()
})

/** A key with a part of order two, and a signature under it that OpenSSL takes: every second message has one. */
function torsionKey() {
  const { Point } = ed25519
  const secret = 7n
  const key = Point.BASE.multiply(secret)
    .add(Point.fromHex(`ec${'ff'.repeat(30)}7f`))
    .toBytes()
  const little = (bytes: Uint8Array) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`)
  const sign = (message: Buffer): Buffer | undefined => {
    const R = Point.BASE.multiply(11n).toBytes()
    const k = little(createHash('sha512').update(R).update(key).update(message).digest()) % Point.Fn.ORDER
    const S = Buffer.from(((11n + k * secret) % Point.Fn.ORDER).toString(16).padStart(64, '0'), 'hex').reverse()
    return k % 2n === 0n ? Buffer.concat([R, S]) : undefined
  }
  return { key: Buffer.from(key), id: createHash('sha256').update(key).digest('hex'), sign }
}

test('who brings a key with a part of small order, or another key than the id is of, is nobody', async () => {
  const carl = await FederatedPool.open('carl')
  const mallory = new ForeignPool(randomBytes(32))
  const { key, id, sign } = torsionKey()
  const body = mallory.introduction({ atom_id: id, pubkey_hex: key.toString('hex') })
  const stamp = once()
  const bytesOf = (nonce: string) =>
    Buffer.from(`POST\n${handshake}\n${stamp.timestamp}\n${nonce}\n0\n\n${JSON.stringify(body)}`)
  let nonce = stamp.nonce
  while (!sign(bytesOf(nonce))) nonce = once().nonce
  const signature = sign(bytesOf(nonce)) ?? Buffer.alloc(64)
  const asNode = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: key.toString('base64url') }, format: 'jwk' })
  expect(verifyAsNode(null, bytesOf(nonce), asNode, signature)).toBe(true)
  const headers = { 'X-IAMINE-Atom-Id': id, 'X-IAMINE-Signature': signature.toString('base64') }
  expect(await mallory.send(carl.url, { path: handshake, body, ...stamp, nonce, headers })).toEqual({
    status: 401,
    body: { error: 'signature: key_refused' },
  })
  const other = new ForeignPool(randomBytes(32))
  const mixed = mallory.introduction({ pubkey_hex: other.publicKeyHex })
  expect((await mallory.send(carl.url, { path: handshake, body: mixed })).status).toBe(401)
  expect(carl.federation.peers.list()).toEqual([])
  await carl[Symbol.asyncDispose]()
})

test('a compressed body is refused unread, however little it unpacks to', async () => {
  const body = gzipSync(JSON.stringify(challenge(bert)))
  const said = letter(2, verify, challenge(anna))
  const headers = said.headers.map((one) => (one === String(said.body.length) ? String(body.length) : one))
  expect((await raw(bert.url, verify, [...headers, 'Content-Encoding', 'gzip'], body)).status).toBe(415)
})

test('a body of bombs is refused before anything is made of it', async () => {
  const mallory = await acquainted(bert)
  const deep = JSON.parse(`${'['.repeat(40)}${']'.repeat(40)}`) as unknown
  const bombs = [
    { ...challenge(mallory), deep },
    { ...challenge(mallory), wide: 'x'.repeat(1_100_000) },
  ]
  const statuses = []
  for (const body of bombs) statuses.push((await mallory.send(bert.url, { path: verify, body })).status)
  expect(statuses).toEqual([400, 413])
})

test('a pool behind a redirect to this machine is not met', async () => {
  const trap = http.createServer((_, response) =>
    response.writeHead(302, { location: `${anna.url}/v1/federation/info` }).end(),
  )
  await new Promise<void>((resolve) => trap.listen(0, '127.0.0.1', resolve))
  const { port } = trap.address() as { port: number }
  loopbackHosts.push(`127.0.0.1:${port}`)
  await expect(bert.federation.office.add(`http://127.0.0.1:${port}`)).rejects.toThrow('redirect')
  trap.close()
})
