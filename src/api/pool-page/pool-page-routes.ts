import { createHash } from 'node:crypto'
import { z } from 'zod'
import { adminSignatureSchema, overrides } from '#federation'
import { type Actor, mayActAs, type Role } from '#identity'
import { PoolError, parseJson, refusalCodes } from '#protocol'
import type { ApiDeps } from '../deps.ts'
import { type Route, route, TextReply, type Visit } from '../route.ts'
import { loginPage, type Notice, poolPage, switchNamed } from './page.ts'
import { isOwnForm, isSameOrigin, type Session, Sessions } from './session.ts'
import { signScript } from './sign-script.ts'
import { pageStyle } from './style.ts'

type Needs = Pick<
  ApiDeps,
  | 'runtime'
  | 'poolId'
  | 'publicUrl'
  | 'tls'
  | 'isOwner'
  | 'authenticate'
  | 'federationAdmin'
  | 'federationMode'
  | 'toggles'
  | 'requestsAdmin'
  | 'pageSecret'
>

/** One style sheet, one script file, forms to ourselves, nothing from anywhere else, in nobody's frame. */
const policy = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(pageStyle).digest('base64')}'`,
  "script-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ')
const pageHeaders = ['content-security-policy', policy, 'referrer-policy', 'same-origin', 'x-frame-options', 'DENY']

/** Requests that the page shows of each box. */
const shown = { limit: 50 }

/** What a form did, by the code in the address it leads to. */
const done: Readonly<Record<string, string>> = {
  killed: 'Federation is off.',
  resumed: 'Federation runs.',
  toggled: 'It is as you chose.',
  approved: 'Approved and done. That pool is told.',
  rejected: 'Rejected. That pool is told.',
  failed: 'Approved, but it could not be done, and nothing of it was.',
  waiting: 'Your signature is kept; more admins must sign.',
  bonded: 'Signed, and the bond counts.',
  offered: 'Signed. The bond begins when the other pool’s side is whole.',
}

const signaturesSchema = z.array(adminSignatureSchema).max(8)
const bondLevelSchema = z.enum(['3', '4']).transform(Number)
const overrideSchema = z.array(z.enum(overrides)).max(overrides.length)
const unfit = () => new PoolError('invalid_request', 'The form is not as this page has it.', 'Load the page again.')

/** The page of a pool's human: what other pools ask, what they may, and the switch that stops it all. Works without a script, but for signing. */
export function poolPageRoutes(deps: Needs): readonly Route[] {
  const secure = deps.tls !== undefined || deps.publicUrl?.startsWith('https:') === true
  const sessions = new Sessions(deps.pageSecret, deps.runtime, secure)
  const html = (text: string, status = 200, more: readonly string[] = []) =>
    new TextReply('text/html; charset=utf-8', text, status, [...pageHeaders, ...more])
  const goTo = (where: string, more: readonly string[] = []) => html('', 303, ['location', where, ...more])

  /** Who holds the key of a session, if that key may see the page now. */
  async function whoIs(key: string): Promise<Actor | undefined> {
    if (deps.isOwner(key)) return { actor: 'owner.key', role: 'owner', userId: null }
    const client = await deps.authenticate(key)
    if ('code' in client || !mayActAs(client.role, 'auditor')) return undefined
    return { actor: `key:${client.id}`, role: client.role, userId: client.userId }
  }

  async function show(session: Session, by: Actor, notice?: Notice, status = 200): Promise<TextReply> {
    const [off, toggles, inbox, outbox, peers] = await Promise.all([
      deps.toggles.because(),
      deps.toggles.list(),
      deps.requestsAdmin.requests.list('in', { ...shown, pending: true }),
      deps.requestsAdmin.requests.list('out', { limit: 10 }),
      deps.federationAdmin.list(),
    ])
    const facts = {
      pool: deps.poolId,
      name: deps.federationAdmin.name,
      mode: deps.federationMode,
      off,
      toggles,
      inbox,
      outbox,
      peers: peers.map(({ peer, reachable, bondProblems }) => ({ ...peer, reachable, bondProblems })),
      now: deps.runtime.now(),
      mayDecide: mayActAs(by.role, 'admin'),
      mayKill: mayActAs(by.role, 'operator'),
    }
    return html(poolPage(facts, session.token, notice), status)
  }

  const page = (path: string, summary: string, handle: (visit: Visit) => Promise<TextReply> | TextReply): Route =>
    route({ method: 'GET', path, caller: 'anyone', summary, handle })

  /** A form of the page: the session, its token, the origin and the role are asked before anything is done. */
  const form = (
    path: string,
    summary: string,
    least: Role,
    act: (form: URLSearchParams, by: Actor, params: Visit['params']) => Promise<string>,
  ): Route =>
    route({
      method: 'POST',
      path: `/admin/pool/${path}`,
      caller: 'anyone',
      form: true,
      summary,
      handle: async ({ headers, raw, params }) => {
        const session = sessions.of(headers)
        const by = session && (await whoIs(session.key))
        if (!session || !by) return html(loginPage({ good: false, text: 'Your session is over. Log in again.' }), 401)
        const filled = new URLSearchParams(raw.request.body.toString('utf8'))
        if (!isOwnForm(headers, filled, session))
          return show(
            session,
            by,
            { good: false, text: 'This form did not come from this page. Nothing was done.' },
            403,
          )
        if (!mayActAs(by.role, least))
          return show(session, by, { good: false, text: `This needs the role ${least}; yours is ${by.role}.` }, 403)
        try {
          return goTo(`/admin/pool?done=${await act(filled, by, params)}`)
        } catch (error) {
          if (!(error instanceof PoolError)) throw error
          const { code, message, fix } = error.refusal
          return show(session, by, { good: false, text: `${message} ${fix}` }, refusalCodes[code].status)
        }
      },
    })

  return [
    page(
      '/admin/pool',
      'The page of a pool’s human: requests of other pools, toggles, peers, kill switch.',
      async (visit) => {
        const session = sessions.of(visit.headers)
        const by = session && (await whoIs(session.key))
        if (!session || !by) return html(loginPage(undefined))
        const code = new URL(visit.raw.request.target, 'http://pool').searchParams.get('done') ?? ''
        return show(session, by, Object.hasOwn(done, code) ? { good: true, text: done[code] ?? '' } : undefined)
      },
    ),
    page('/admin/pool/sign.js', 'The script of that page: signs with an admin key, in the browser.', () => {
      return new TextReply('text/javascript; charset=utf-8', signScript)
    }),
    route({
      method: 'POST',
      path: '/admin/pool/login',
      caller: 'anyone',
      form: true,
      summary: 'Log in at that page with the owner’s key, or an API key with a role.',
      handle: async ({ headers, raw }) => {
        const key = new URLSearchParams(raw.request.body.toString('utf8')).get('key')?.trim() ?? ''
        const by = isSameOrigin(headers) && key !== '' ? await whoIs(key) : undefined
        if (!by) return html(loginPage({ good: false, text: 'This key does not open the page.' }), 401)
        return goTo('/admin/pool', ['set-cookie', sessions.begin(key)])
      },
    }),
    route({
      method: 'POST',
      path: '/admin/pool/logout',
      caller: 'anyone',
      form: true,
      summary: 'Log out of that page.',
      handle: ({ headers, raw }) => {
        const session = sessions.of(headers)
        const filled = new URLSearchParams(raw.request.body.toString('utf8'))
        if (session && !isOwnForm(headers, filled, session)) return goTo('/admin/pool')
        return goTo('/admin/pool', ['set-cookie', sessions.end()])
      },
    }),
    form('kill', 'Stop all federation.', 'operator', async (filled, { actor }) => {
      await deps.toggles.set('kill', true, { actor, reason: (filled.get('reason') ?? '').slice(0, 200) })
      return 'killed'
    }),
    form('resume', 'Let federation run again.', 'admin', async (_filled, { actor }) => {
      await deps.toggles.set('kill', false, { actor, reason: '' })
      return 'resumed'
    }),
    form('toggles/:name', 'Let something in or out, or not.', 'admin', async (filled, { actor }, { name }) => {
      const toggle = switchNamed(name)
      if (!toggle) throw unfit()
      await deps.toggles.set(toggle, filled.get('on') === 'true', { actor, reason: '' })
      return 'toggled'
    }),
    form('peers/:id/bond', 'Sign a bond with another pool.', 'admin', async (filled, { actor }, { id = '' }) => {
      const level = bondLevelSchema.safeParse(filled.get('level'))
      const signatures = signaturesSchema.safeParse(signaturesIn(filled.get('signatures') ?? ''))
      if (!level.success || !signatures.success) throw unfit()
      const { awaiting } = await deps.federationAdmin.promote(id, level.data, actor, signatures.data[0])
      return awaiting ? 'offered' : 'bonded'
    }),
    form(
      'requests/:id',
      'Approve or reject what another pool asks.',
      'admin',
      async (filled, { actor }, { id = '' }) => {
        const decision = filled.get('decision')
        const override = overrideSchema.safeParse(filled.getAll('override'))
        const signatures = signaturesSchema.safeParse(signaturesIn(filled.get('signatures') ?? ''))
        if ((decision !== 'approve' && decision !== 'reject') || !override.success || !signatures.success) throw unfit()
        const approve = decision === 'approve'
        const human = { approve, override: approve ? override.data : [], signatures: signatures.data, by: actor }
        const { row, waiting } = await deps.requestsAdmin.requests.decide(id, human)
        return waiting ? 'waiting' : row.state === 'failed' ? 'failed' : approve ? 'approved' : 'rejected'
      },
    ),
  ]
}

function signaturesIn(text: string): unknown {
  if (text === '') return []
  const json = parseJson(Buffer.from(text))
  return json.ok ? json.value : undefined
}
