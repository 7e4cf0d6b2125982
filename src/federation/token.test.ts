import { createPrivateKey } from 'node:crypto'
import { importJWK, jwtVerify, SignJWT } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { identityFromSeed } from '#crypto'
import { Identity, poolItself } from '#identity'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { FactPool } from '../testkit/fact-pool.ts'
import { FederatedPool } from '../testkit/federated-pool.ts'
import { issueToken, looksLikeToken, verifyToken } from './token.ts'
import { revokedTokens, Tokens } from './tokens.ts'

const anna = identityFromSeed(Buffer.alloc(32, 1))
const bela = identityFromSeed(Buffer.alloc(32, 2))
const now = 1_800_000_000_000
const claims = {
  issuer: anna.id as PoolId,
  audience: bela.id as PoolId,
  subject: 'ada',
  issuedAt: now / 1_000,
  expiresAt: now / 1_000 + 3_600,
  id: 'one',
}
const atBela = (token: string, at = now) =>
  verifyToken(token, bela.id as PoolId, at, (issuer) => (issuer === anna.id ? anna.publicKey : undefined))

test('an implementation of others reads our tokens, and we read its', async () => {
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: anna.publicKey.toString('base64url') }
  const options = { issuer: anna.id, audience: bela.id, algorithms: ['EdDSA'], currentDate: new Date(now) }
  const { payload } = await jwtVerify(issueToken(anna, claims), await importJWK(jwk, 'EdDSA'), options)
  expect(payload).toMatchObject({ sub: 'ada', jti: 'one', exp: now / 1_000 + 3_600 })
  const key = createPrivateKey({ key: { ...jwk, d: anna.seed.toString('base64url') }, format: 'jwk' })
  const theirs = new SignJWT({
    iss: anna.id,
    aud: bela.id,
    sub: 'ada',
    iat: claims.issuedAt,
    exp: claims.expiresAt,
    jti: 'one',
  })
  expect(atBela(await theirs.setProtectedHeader({ alg: 'EdDSA', typ: 'JWT' }).sign(key))).toEqual({ ok: true, claims })
})

/** A token with any header and claims, signed all the same. */
function forged(header: string, body: string, by = anna): string {
  const signed = `${Buffer.from(header).toString('base64url')}.${Buffer.from(body).toString('base64url')}`
  return `${signed}.${by.sign(Buffer.from(signed)).toString('base64url')}`
}
const goodHeader = '{"alg":"EdDSA","typ":"JWT"}'
const bodyWith = (more: object = {}) =>
  JSON.stringify({
    iss: anna.id,
    aud: bela.id,
    sub: 'ada',
    iat: now / 1_000,
    exp: now / 1_000 + 3_600,
    jti: 'one',
    ...more,
  })

test.each([
  ['no algorithm', 'header_refused', forged('{"alg":"none","typ":"JWT"}', bodyWith())],
  ['a MAC under the public key', 'header_refused', forged('{"alg":"HS256","typ":"JWT"}', bodyWith())],
  ['a key of its own', 'header_refused', forged('{"alg":"EdDSA","typ":"JWT","jwk":{"kty":"OKP"}}', bodyWith())],
  ['a critical extension', 'header_refused', forged('{"alg":"EdDSA","typ":"JWT","crit":["x"],"x":1}', bodyWith())],
  ['an unencoded payload', 'header_refused', forged('{"alg":"EdDSA","typ":"JWT","b64":false}', bodyWith())],
  ['another’s name as key', 'header_refused', forged(`{"alg":"EdDSA","typ":"JWT","kid":"${bela.id}"}`, bodyWith())],
  ['a header with one name twice', 'header_refused', forged('{"alg":"none","alg":"EdDSA","typ":"JWT"}', bodyWith())],
  ['claims with one name twice', 'claims_refused', forged(goodHeader, bodyWith().replace('{', `{"aud":"${anna.id}",`))],
  ['several audiences', 'claims_refused', forged(goodHeader, bodyWith({ aud: [bela.id, anna.id] }))],
  ['no id', 'claims_refused', forged(goodHeader, bodyWith({ jti: undefined }))],
  ['an end as text', 'claims_refused', forged(goodHeader, bodyWith({ exp: '9999999999' }))],
  ['another pool as audience', 'wrong_audience', forged(goodHeader, bodyWith({ aud: anna.id }))],
  ['a second more than a day', 'lives_too_long', forged(goodHeader, bodyWith({ exp: now / 1_000 + 86_401 }))],
  ['an end before its beginning', 'lives_too_long', forged(goodHeader, bodyWith({ exp: now / 1_000 }))],
  ['a beginning in the future', 'not_yet_valid', forged(goodHeader, bodyWith({ nbf: now / 1_000 + 61 }))],
  ['an issuer nobody knows', 'unknown_issuer', forged(goodHeader, bodyWith({ iss: bela.id }), bela)],
  ['another’s signature', 'bad_signature', forged(goodHeader, bodyWith(), bela)],
])('a token with %s is refused: %s', (_what, code, token) => {
  expect(atBela(token)).toEqual({ ok: false, code })
})

test('a token has one spelling: padding, stray bits, other alphabets, more parts and white space are none', () => {
  const token = issueToken(anna, claims)
  const last = token.at(-1) ?? ''
  const sameBits = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'].find(
    (sign) =>
      sign !== last &&
      Buffer.from(token.slice(-86, -1) + sign, 'base64url').equals(Buffer.from(token.slice(-86), 'base64url')),
  )
  expect(sameBits).toBeDefined()
  const others = [
    `${token}=`,
    token.slice(0, -1) + sameBits,
    ` ${token}`,
    `${token}\n`,
    `${token}.x`,
    token.replace('.', '..'),
    `.${token}`,
  ]
  for (const other of others) expect(atBela(other), other.slice(-8)).toEqual({ ok: false, code: 'malformed_token' })
  expect(atBela(`${'A'.repeat(5_000)}.${token}`)).toEqual({ ok: false, code: 'malformed_token' })
})

test('it is good until its last second', () => {
  const token = issueToken(anna, claims)
  expect(atBela(token, now + 3_599_999).ok).toBe(true)
  expect(atBela(token, now + 3_600_000)).toEqual({ ok: false, code: 'expired' })
  expect(looksLikeToken(token)).toBe(true)
  expect(looksLikeToken(`sk-lichen-${'A'.repeat(43)}`)).toBe(false)
})

let pool: FederatedPool
let other: FederatedPool
beforeAll(async () => {
  ;[pool, other] = await Promise.all([FederatedPool.open('anna'), FederatedPool.open('bela')])
})
afterAll(async () => {
  await Promise.all([pool, other].map((one) => one[Symbol.asyncDispose]()))
})

test('a pool’s users are served by another one while it is bonded there and the operator wants it, as one API key', async () => {
  let off = false
  const tokensOf = ({ db, identity, id, federation: { peers } }: FederatedPool) =>
    new Tokens({ database: db.database, runtime: systemRuntime, poolId: id, identity, peers, off: async () => off })
  const [issuing, taking] = [tokensOf(pool), tokensOf(other)]
  using identity = new Identity(other.db.database, systemRuntime)
  const key = await identity.createApiKey({ name: 'guests of anna' }, poolItself)
  const { token } = await issuing.issue(
    { apiKeyId: systemRuntime.uuid(), audience: other.id, lifeMs: 60_000 },
    'owner.key',
  )
  const refused = { code: 'invalid_api_key' }
  expect(await taking.apiKeyOf(token)).toMatchObject(refused)
  await other.federation.office.add(pool.url, undefined)
  await taking.allow(pool.id.slice(0, 8), key.id, 'owner.key')
  // known is not bonded
  expect(await taking.apiKeyOf(token)).toMatchObject({ ...refused, message: expect.stringContaining('unknown_issuer') })
  for (const [here, there] of [
    [other, pool],
    [pool, other],
  ] as const) {
    if (here === pool) await here.federation.office.add(there.url, undefined)
    await here.knowsAdminOf(there)
    await here.bond(there.id)
  }
  await expect.poll(() => taking.apiKeyOf(token), { timeout: 20_000 }).toEqual({ apiKeyId: key.id })
  expect(await identity.apiKeyById(key.id)).toMatchObject({ id: key.id, name: 'guests of anna' })
  expect(await tokensOf(pool).apiKeyOf(token)).toMatchObject({
    ...refused,
    message: expect.stringContaining('wrong_audience'),
  })
  off = true
  expect(await taking.apiKeyOf(token)).toMatchObject(refused)
  off = false
  await taking.allow(pool.id, null, 'owner.key')
  expect(await taking.apiKeyOf(token)).toMatchObject(refused)
  await taking.allow(pool.id, key.id, 'owner.key')
  await other.federation.office.revoke(pool.id, 'owner.key')
  expect(await taking.apiKeyOf(token)).toMatchObject(refused)
})

test('one token is taken back: by its holder’s pool with a fact that the other pool hears, or by the other pool alone', async () => {
  const said = async () => revokedTokens(anna0.pool.db.sql, anna0.pool.id, systemRuntime.now())
  await using anna0 = await FactPool.open('anna', {
    sayings: { models: async () => [], slashes: async () => [], revokedTokens: said },
  })
  await using bela0 = await FactPool.open('bela')
  await anna0.bondWith(bela0)
  const tokensOf = ({ pool: { db, identity, id, federation } }: FactPool) =>
    new Tokens({
      database: db.database,
      runtime: systemRuntime,
      poolId: id,
      identity,
      peers: federation.peers,
      off: async () => false,
    })
  const [issuing, taking] = [tokensOf(anna0), tokensOf(bela0)]
  using identity = new Identity(bela0.pool.db.database, systemRuntime)
  const key = await identity.createApiKey({ name: 'guests' }, poolItself)
  await taking.allow(anna0.pool.id, key.id, 'owner.key')
  const wish = { apiKeyId: systemRuntime.uuid(), audience: bela0.pool.id, lifeMs: 60_000 }
  const [one, two, three] = [
    await issuing.issue(wish, 'ada'),
    await issuing.issue(wish, 'ada'),
    await issuing.issue(wish, 'ada'),
  ]
  await expect.poll(() => taking.apiKeyOf(one.token), { timeout: 20_000 }).toEqual({ apiKeyId: key.id })
  expect(await issuing.revoke({ token: one.id }, 'ada')).toMatchObject({ issuer: anna0.pool.id, id: one.id })
  await issuing.revoke({ token: one.token }, 'ada') // again, by the token itself: changes nothing
  expect(await anna0.pool.db.sql`select actor from acts where action = 'token.revoke'`).toEqual([{ actor: 'ada' }])
  expect(await taking.apiKeyOf(one.token)).toEqual({ apiKeyId: key.id })
  await anna0.exchange.say()
  await bela0.exchange.exchange(anna0.pool.id)
  const revoked = { code: 'invalid_api_key', message: expect.stringContaining('revoked') }
  expect(await taking.apiKeyOf(one.token)).toMatchObject(revoked)
  expect(await taking.apiKeyOf(two.token)).toEqual({ apiKeyId: key.id })
  await taking.revoke({ token: two.id, issuer: anna0.pool.id.slice(0, 8) }, 'bela')
  expect(await taking.apiKeyOf(two.token)).toMatchObject(revoked)
  expect(await taking.apiKeyOf(three.token)).toEqual({ apiKeyId: key.id })
  await expect(taking.revoke({ token: 'no id' }, 'bela')).rejects.toThrow('neither a token')
  await expect(issuing.revoke({ token: three.id.slice(0, 8) }, 'ada')).rejects.toThrow('nothing was revoked')
  await expect(issuing.revoke({ token: one.token, issuer: 'ffffff' }, 'ada')).rejects.toThrow('another issuer')
})

test('a pool takes its own tokens as the API key they name', async () => {
  const { db, identity, id, federation } = pool
  const options = { database: db.database, runtime: systemRuntime, poolId: id, identity, off: async () => true }
  const tokens = new Tokens({ ...options, peers: federation.peers })
  const apiKeyId = systemRuntime.uuid()
  const { token } = await tokens.issue({ apiKeyId, audience: id, lifeMs: 60_000 }, 'owner.key')
  expect(await tokens.apiKeyOf(token)).toEqual({ apiKeyId })
  await tokens.revoke({ token }, 'owner.key')
  expect(await tokens.apiKeyOf(token)).toMatchObject({ code: 'invalid_api_key' })
  const [act] = await db.sql`select actor, details from acts where action = 'token.issue' order by seq desc`
  expect(act).toMatchObject({ actor: 'owner.key', details: { audience: id, subject: apiKeyId } })
})
