import { createHash, randomBytes } from 'node:crypto'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { identityFromSeed } from '#crypto'
import { PeerAdminKeys, Toggles } from '#federation'
import { Identity, poolItself } from '#identity'
import { systemRuntime } from '#runtime'
import { ApiDouble } from '../../testkit/api-double.ts'
import { AskingPool } from '../../testkit/asking-pool.ts'
import { FederatedPool, loopbackHosts } from '../../testkit/federated-pool.ts'
import { ForeignPool } from '../../testkit/foreign-pool.ts'
import { signScript } from './sign-script.ts'

let anna: AskingPool
let api: ApiDouble
let toggles: Toggles
const v1Writers: string[] = []
const neighbour = new ForeignPool(randomBytes(32))
const admin = identityFromSeed(randomBytes(32))
/** API keys of an auditor and of somebody who administers nothing. */
const keys = { auditor: '', user: '' }

beforeAll(async () => {
  anna = await AskingPool.open('anna', { v1Writers })
  const { database } = anna.pool.db
  const identity = new Identity(database, systemRuntime)
  await identity.addAdminKey({ name: 'ada', publicKey: admin.publicKey }, poolItself)
  for (const role of ['auditor', 'user'] as const) {
    await identity.createUser({ name: role, role }, poolItself)
    keys[role] = (await identity.createApiKey({ name: role, user: role, role }, poolItself)).key
  }
  toggles = await Toggles.open({
    database,
    runtime: systemRuntime,
    filesThere: async () => [],
    whyNoWrite: async () => undefined,
    onFlip: () => {},
    onProblem: () => {},
  })
  const { office } = anna.pool.federation
  const admins = {
    mode: 'active',
    name: 'Anna’s <pool>',
    url: '',
    publicKey: anna.pool.identity.publicKey,
    killed: async () => false,
    statement: () => Promise.reject(new Error('nobody asks here')),
  }
  api = await ApiDouble.open({
    authenticate: (key) => identity.authenticate(key),
    poolId: anna.pool.id,
    toggles,
    federationMode: 'active',
    federationAdmin: Object.assign(office, admins),
    requestsAdmin: { requests: anna.requests, peerKeys: new PeerAdminKeys(database, systemRuntime) },
  })
  await neighbour.listen()
  loopbackHosts.push(new URL(neighbour.url).host)
  neighbour.answers.set('/v1/federation/admin/callback', () => ({ ok: true }))
  v1Writers.push(neighbour.id)
  await office.add(neighbour.url, undefined)
  await anna.bond(neighbour.id)
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  toggles[Symbol.dispose]()
  await neighbour[Symbol.asyncDispose]()
  await anna[Symbol.asyncDispose]()
})

/** Sends a form as a browser without a script does. */
async function post(path: string, fields: Record<string, string>, headers: Record<string, string> = {}) {
  const answer = await fetch(`${api.url}/admin/pool/${path}`, {
    method: 'POST',
    redirect: 'manual',
    headers: { 'content-type': 'application/x-www-form-urlencoded', origin: api.url, ...headers },
    body: new URLSearchParams(fields),
  })
  return { status: answer.status, text: await answer.text(), headers: answer.headers }
}

async function logIn(key = 'owner'): Promise<{ cookie: string; token: string; html: string }> {
  const { status, headers } = await post('login', { key })
  expect([status, headers.get('location')]).toEqual([303, '/admin/pool'])
  const cookie = headers.get('set-cookie')?.split(';')[0] ?? ''
  const html = await (await fetch(`${api.url}/admin/pool`, { headers: { cookie } })).text()
  return { cookie, html, token: /name="token" value="([^"]+)"/.exec(html)?.[1] ?? '' }
}

const isOff = () => toggles.on()

test('who is not logged in sees a field for a key, and does nothing', async () => {
  const answer = await fetch(`${api.url}/admin/pool`)
  expect(await answer.text()).not.toMatch(/Stop all federation|token/)
  expect(await post('kill', { reason: 'x' })).toMatchObject({ status: 401 })
  expect(await post('login', { key: 'wrong' })).toMatchObject({ status: 401 })
  expect(await post('login', { key: keys.user })).toMatchObject({ status: 401 })
  expect(await post('kill', {}, { cookie: `lichen_admin=${'A'.repeat(200)}` })).toMatchObject({ status: 401 })
  expect(await isOff()).toBe(false)
})

test('a session lies in a cookie that no script reads and no other site sends, and ends by logging out', async () => {
  const { headers } = await post('login', { key: 'owner' })
  expect(headers.get('set-cookie')).toMatch(/; Max-Age=3600; Path=\/admin\/pool; HttpOnly; SameSite=Strict$/)
  expect(headers.get('set-cookie')).not.toContain('owner')
  const { cookie, token } = await logIn()
  expect((await post('logout', { token }, { cookie })).headers.get('set-cookie')).toMatch(/^lichen_admin=; Max-Age=0/)
})

test('the page runs one script file of its own and no inline one, loads nothing from elsewhere, and shows names as text', async () => {
  const { cookie, html } = await logIn()
  const { headers } = await fetch(`${api.url}/admin/pool`, { headers: { cookie } })
  const policy = headers.get('content-security-policy') ?? ''
  expect(policy).toContain("default-src 'none'")
  expect(policy).not.toContain('unsafe')
  const style = /<style>([\s\S]*?)<\/style>/.exec(html)?.[1] ?? ''
  expect(policy).toContain(createHash('sha256').update(style).digest('base64'))
  expect(html.match(/<script[^>]*>/g)).toEqual(['<script src="/admin/pool/sign.js" defer>'])
  expect(html).not.toMatch(/ on\w+=| style=|javascript:|https?:\/\/(?!127\.0\.0\.1)/)
  expect(html).toContain('Anna’s &lt;pool&gt;')
})

test('a form that another site fills in does nothing', async () => {
  const { cookie, token } = await logIn()
  const forged = [
    post('kill', {}, { cookie }),
    post('kill', { token: `${token.slice(1)}A` }, { cookie }),
    post('kill', { token }, { cookie, origin: 'https://evil.example' }),
    post('kill', { token }, { cookie, origin: 'null' }),
    post('kill', { token }, { cookie, 'sec-fetch-site': 'cross-site' }),
    post('kill', { token: (await logIn()).token }, { cookie }),
  ]
  for (const one of await Promise.all(forged)) expect(one.status).toBe(403)
  expect(await isOff()).toBe(false)
  // and what has keys of its own takes no forms
  const json = await fetch(`${api.url}/v1/admin/federation/kill`, {
    method: 'POST',
    headers: { authorization: 'Bearer owner', 'content-type': 'application/x-www-form-urlencoded' },
    body: 'reason=x',
  })
  expect(json.status).toBe(415)
})

test('without a script: stop, resume, turn a toggle, approve a READ', async () => {
  const { cookie, token } = await logIn()
  expect((await post('kill', { token, reason: 'a drill' }, { cookie })).headers.get('location')).toBe(
    '/admin/pool?done=killed',
  )
  expect(await isOff()).toBe(true)
  const off = await (await fetch(`${api.url}/admin/pool?done=killed`, { headers: { cookie } })).text()
  expect(off).toContain('Switched off by: <code>lichen fed kill</code>')
  await post('resume', { token }, { cookie })
  expect(await isOff()).toBe(false)
  await post('toggles/read', { token, on: 'false' }, { cookie })
  expect(toggles.allows('read')).toBe(false)
  await post('toggles/read', { token, on: 'true' }, { cookie })
  await post('toggles/accept', { token, on: 'false' }, { cookie })
  expect(toggles.allows('accept')).toBe(false)
  expect((await post('toggles/kill', { token, on: 'true' }, { cookie })).status).toBe(400)
  const id = await asked('query_events')
  const decided = await post(`requests/${id}`, { token, decision: 'approve' }, { cookie })
  expect(decided.headers.get('location')).toBe('/admin/pool?done=approved')
  expect((await anna.requests.show(id)).decidedBy).toBe('owner.key')
  const again = await post(`requests/${id}`, { token, decision: 'approve' }, { cookie })
  expect([again.status, again.text.includes('This request is executed')]).toEqual([409, true])
  expect((await post(`requests/${id}`, { token, decision: 'perhaps' }, { cookie })).status).toBe(400)
})

async function asked(action: string): Promise<string> {
  const body = {
    request_id: `fadm_${randomBytes(8).toString('hex')}`,
    origin_pool_id: neighbour.id,
    action_type: action,
  }
  expect((await neighbour.send(anna.pool.url, { path: '/v1/federation/admin/request', body })).status).toBe(200)
  return body.request_id
}

/** The form of the page that leads there, with just what the script touches. */
function formOf(html: string, action: string, file: string) {
  const tag = html.match(/<form [^>]*>/g)?.find((one) => one.includes(`action="/admin/pool/${action}"`)) ?? ''
  const data = [...tag.matchAll(/ data-(\w+)="([^"]*)"/g)].map(([, name, value = '']) => [
    name,
    value.replaceAll('&quot;', '"'),
  ])
  const ended = Promise.withResolvers<Record<string, string>>()
  const elements = { signatures: { value: '' }, decision: { value: '' } }
  const parts: Record<string, object> = {
    '.unsigned': {},
    '.signing': {},
    'input[type=file]': { files: [{ size: file.length, text: async () => file }] },
    'input[value=slashing]': { checked: false },
    'input[value=reciprocal]': { checked: false },
    '[role=status]': {
      set textContent(said: string) {
        if (said !== 'Signing…') ended.reject(new Error(said))
      },
    },
  }
  let submitted = (_event: object) => {}
  const form = {
    dataset: Object.fromEntries(data),
    elements,
    querySelector: (what: string) => parts[what],
    addEventListener: (_name: string, listener: typeof submitted) => {
      submitted = listener
    },
    submit: () => ended.resolve({ signatures: elements.signatures.value, decision: elements.decision.value }),
  }
  const press = (value: string) => {
    submitted({ preventDefault: () => {}, submitter: { value }, timeStamp: 0 })
    return ended.promise
  }
  return { form, press }
}

/** What the form sends after its button was pressed with this key file chosen. */
function signHere(html: string, action: string, file: string, decision: string): Promise<Record<string, string>> {
  const { form, press } = formOf(html, action, file)
  const document = { querySelectorAll: () => [form] }
  const web = { crypto, TextEncoder, Uint8Array, DataView, atob, btoa }
  runInNewContext(signScript, { document, ...web, Math, Number, JSON, String, Array, Error })
  return press(decision)
}

test('a WRITE is signed in the browser with a key that stays there, exactly as the command signs it', async () => {
  const id = await asked('circuit_reset')
  const { cookie, token, html } = await logIn()
  expect((await post(`requests/${id}`, { token, decision: 'approve' }, { cookie })).text).toContain(
    'signature of an admin',
  )
  for (const file of ['hello\n', 'AAAA', `${'A'.repeat(43)}!`, 'x'.repeat(5_000)])
    await expect(signHere(html, `requests/${id}`, file, 'approve')).rejects.toThrow('This file is no admin key.')
  const signed = await signHere(html, `requests/${id}`, `${admin.seed.toString('base64url')}\n`, 'approve')
  expect(JSON.stringify(signed)).not.toContain(admin.seed.toString('base64url'))
  const decided = await post(`requests/${id}`, { token, ...signed }, { cookie })
  expect(decided.headers.get('location')).toBe('/admin/pool?done=approved')
  expect((await anna.requests.show(id)).decisionSignatures.map(({ key_id }) => key_id)).toEqual([admin.id])
})

test('a bond is seen from the first word of either side until it counts, and signed in the browser as the command signs it', async () => {
  await using bela = await FederatedPool.open('bela')
  const { office, heartbeats } = anna.pool.federation
  await office.add(bela.url)
  await office.promote(bela.id, 2, 'owner.key')
  await bela.federation.office.promote(anna.pool.id, 2, 'owner.key')
  const card = (html: string) => /<h3>bela: 3 bonded<.*?<\/section>/s.exec(html)?.[0]
  expect(card((await logIn()).html)).toContain(`lichen fed promote ${bela.id.slice(0, 12)} 3`)
  await bela.bond(anna.pool.id)
  const { cookie, token, html } = await logIn()
  expect(card(html)).toContain(bela.url)
  expect(card(html)).toContain(`lichen fed admin-keys add ${bela.id.slice(0, 12)} NAME PUBLIC_KEY`)
  expect(card((await logIn(keys.auditor)).html)).not.toContain('<form')
  const there = `peers/${bela.id}/bond`
  expect((await post(there, { token, level: '3' }, { cookie })).text).toContain('signature of an admin')
  expect((await post(there, { token, level: '2' }, { cookie })).status).toBe(400)
  const { signatures = '' } = await signHere(html, there, `${anna.pool.admin.seed.toString('base64url')}\n`, '')
  expect((await post(there, { token: 'another', level: '3', signatures }, { cookie })).status).toBe(403)
  const signed = await post(there, { token, level: '3', signatures }, { cookie })
  expect(signed.headers.get('location')).toBe('/admin/pool?done=offered')
  expect((await office.show(bela.id)).ours?.key_id).toBe(anna.pool.admin.id)
  // who registers the other's key needs to do no more
  await bela.knowsAdminOf(anna.pool)
  await anna.pool.knowsAdminOf(bela)
  await heartbeats.beat()
  expect((await office.show(bela.id)).peer.trust).toBe(3)
  expect(card((await logIn()).html)).toBeUndefined()
})

test('what a stranger says of itself puts no form in front of anybody, and hides no other pool', async () => {
  await using mallory = await FederatedPool.open('Bela & Sons')
  await mallory.federation.office.add(anna.pool.url)
  const { office, peers } = anna.pool.federation
  await expect.poll(() => peers.get(mallory.id)?.trust).toBe(1)
  const sign = () => mallory.federation.office.promote(anna.pool.id, 4, 'owner.key', mallory.accepts(anna.pool.id, 4))
  await sign()
  const heard = async () => (await office.show(mallory.id)).bondProblems.map(({ why }) => why)
  await expect.poll(heard).toEqual(['unknown_admin'])
  const card = async () => /<h3>Bela &amp; Sons: 3 bonded<.*?<\/section>/s.exec((await logIn()).html)?.[0]
  expect(await card()).toContain('It says that its admin has signed')
  expect(await card()).toContain(mallory.id)
  expect(await card()).not.toMatch(/<form|waits for you/)
  // a human here has met that admin
  await anna.pool.knowsAdminOf(mallory)
  await mallory.bond(anna.pool.id, 3)
  await expect.poll(card).toMatch(/waits for you.*trusts it with jobs as well.*<form/s)
  await office.revoke(mallory.id, 'owner.key')
  expect(await card()).toBeUndefined()
})

test('an auditor sees it all and may do nothing', async () => {
  const { cookie, token, html } = await logIn(keys.auditor)
  expect(html).not.toMatch(/>Approve|Stop all|>Turn o/)
  expect((await post('kill', { token }, { cookie })).status).toBe(403)
  expect(await isOff()).toBe(false)
})
