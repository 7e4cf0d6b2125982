import { Command, InvalidArgumentError, Option } from 'commander'
import { durationMs, positive, settingsOf, withExamples, withSettings } from './options.ts'
import { clean, counted, print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'
import { CommandProblem } from './problem.ts'
import { type SigningOptions, signingKey, withKey } from './signing-key.ts'

const base = '/v1/admin/federation'
/** Random bytes of a request's id. */
const idBytes = 8
const actions = ['query_events', 'circuit_reset'] as const
type Action = (typeof actions)[number]

/** A request as the pool lists it. */
interface RequestRow {
  readonly id: string
  readonly direction: 'in' | 'out'
  readonly peer: string
  readonly action_type: Action
  readonly kind: 'read' | 'write'
  readonly action_params: Record<string, unknown>
  readonly from_admin_email: string | null
  readonly state: string
  readonly created_at: string
  readonly expires_at: string
  readonly error: string | null
  readonly result: {
    readonly events?: readonly { type: string; subject: string; at: number; details: object }[]
    readonly cleared?: Readonly<Record<string, number>>
  } | null
}

/** `lichen fed inbox|outbox|request|decide|toggle`. */
export function requestCommands(): Command[] {
  return [boxCommand('inbox'), boxCommand('outbox'), requestCommand(), decideCommand(), toggleCommand()]
}

interface BoxOptions {
  readonly all?: boolean
  readonly json?: boolean
}

function boxCommand(name: 'inbox' | 'outbox'): Command {
  const command = new Command(name)
    .description(
      name === 'inbox' ? 'what other pools ask of you' : 'what was asked of other pools, and what became of it',
    )
    .argument('[id]', 'one request, with all there is about it')
    .option('--all', 'those that have ended, too')
    .action(async (id: string | undefined, { all, json }: BoxOptions, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      if (id !== undefined) {
        const row = await client.json<RequestRow>('GET', `${base}/requests/${encodeURIComponent(id)}`)
        return print(json === true, row, () => pageOf(row))
      }
      const data = await client.all<RequestRow>(`${base}/${name}${all === true ? '' : '?pending=true'}`)
      const none = all === true ? 'There are no requests.' : 'No request is pending; --all shows those that have ended.'
      print(json === true, { object: 'list', data }, () =>
        data.length === 0
          ? none
          : table(['ID', name === 'inbox' ? 'FROM' : 'TO', 'ASKS FOR', 'KIND', 'STATE', 'UNTIL'], data.map(lineOf)),
      )
    })
  return withExamples(withSettings(command, ['client']), [
    [`lichen fed ${name}`, 'what is pending'],
    [`lichen fed ${name} fadm_0123456789abcdef --json`, 'one request, whole'],
  ])
}

const lineOf = ({ id, peer, action_type, kind, state, expires_at }: RequestRow) => [
  id,
  peer.slice(0, 12),
  action_type,
  kind.toUpperCase(),
  state,
  expires_at,
]

function pageOf(row: RequestRow): string {
  const { events, cleared } = row.result ?? {}
  const rows = [
    [row.direction === 'in' ? 'from' : 'to', row.peer],
    ['asks for', `${row.action_type} (${row.kind.toUpperCase()})`],
    ['with', JSON.stringify(row.action_params)],
    ...(row.from_admin_email === null ? [] : [['signs as', `${row.from_admin_email} (not verified)`]]),
    ['state', row.state],
    ['until', row.expires_at],
    ...(row.error === null ? [] : [['said', row.error]]),
    ...(cleared
      ? [
          [
            'cleared',
            Object.entries(cleared)
              .map(([what, count]) => `${count} ${what}`)
              .join(', '),
          ],
        ]
      : []),
  ]
  const head = table(['REQUEST', row.id], rows)
  if (!events) return head
  const lines = events.map(({ at, type, subject, details }) => [
    new Date(at * 1_000).toISOString(),
    type,
    subject.slice(0, 12),
    JSON.stringify(details),
  ])
  return `${head}\n\n${table(['WHEN', 'WHAT', 'WHOM', 'DETAILS'], lines)}`
}

interface RequestOptions extends SigningOptions {
  readonly limit?: number
  readonly type?: string
  readonly since?: number
  readonly email?: string
  readonly json?: boolean
}

function requestCommand(): Command {
  const command = withKey(
    new Command('request')
      .description('ask another pool’s human for something; it is answered when a human there has decided')
      .argument('<pool>', 'whom: its id, or the first six digits')
      .argument(
        '<action>',
        'query_events: its event log (READ); circuit_reset: forget its circuits and routing (WRITE)',
        actionOf,
      )
      .option('--limit <n>', 'query_events: at most so many, up to 500', positive)
      .option('--type <types>', 'query_events: only these, with commas')
      .option('--since <time>', 'query_events: how far back, up to 7d', durationMs)
      .option('--email <address>', 'shown there; nobody believes it'),
    'a WRITE',
  ).action(async (pool: string, action: Action, options: RequestOptions, self: Command) => {
    const client = new PoolClient(await settingsOf(self))
    const { systemRuntime } = await import('#runtime')
    const peer = await client.json<{ id: string }>('GET', `${base}/peers/${encodeURIComponent(pool)}`)
    const params = paramsOf(action, options, systemRuntime.now())
    const id = `fadm_${systemRuntime.randomBytes(idBytes).toString('hex')}`
    const signatures =
      action === 'circuit_reset' ? [await signRequest(client, options, { peer: peer.id, id, action, params })] : []
    const body = {
      peer: peer.id,
      action_type: action,
      action_params: params,
      id,
      from_admin_email: options.email ?? null,
      signatures,
    }
    const row = await client.json<RequestRow>('POST', `${base}/requests`, body)
    if (row.state === 'failed' && options.json !== true) {
      throw new CommandProblem('refused', `That pool refused at once: ${row.error}.`, 'Ask its human what they allow.')
    }
    print(
      options.json === true,
      row,
      () => `Asked: ${row.id} is ${row.state} until ${row.expires_at}. See \`lichen fed outbox ${row.id}\`.`,
    )
  })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed request 3fa9c1 query_events --limit 100', 'see what happened to its workers'],
    ['lichen fed request 3fa9c1 circuit_reset --key ada', 'signed on this machine'],
  ])
}

function actionOf(text: string): Action {
  const action = actions.find((name) => name === text)
  if (!action) throw new InvalidArgumentError(`Give one of ${actions.join(', ')}.`)
  return action
}

function paramsOf(action: Action, { limit, type, since }: RequestOptions, now: number): Record<string, unknown> {
  if (action === 'circuit_reset') return {}
  return {
    ...(limit === undefined ? {} : { limit }),
    ...(type === undefined ? {} : { types: type.split(',') }),
    ...(since === undefined ? {} : { since: Math.floor((now - since) / 1_000) }),
  }
}

interface Signed {
  readonly peer: string
  readonly id: string
  readonly action: Action
  readonly params: Record<string, unknown>
}

async function signRequest(client: PoolClient, options: SigningOptions, { peer, id, action, params }: Signed) {
  const [{ systemRuntime }, { adminRequestBytes }] = await Promise.all([import('#runtime'), import('#federation')])
  const admin = await signingKey(options)
  const { pool } = await client.json<{ pool: string }>('GET', '/version')
  const signedAt = Math.floor(systemRuntime.now() / 1_000)
  const bytes = adminRequestBytes({ origin: pool, target: peer, requestId: id, action, params }, signedAt)
  return { key_id: admin.id, signed_at: signedAt, signature: admin.sign(bytes).toString('base64') }
}

interface DecideOptions extends SigningOptions {
  readonly approve?: boolean
  readonly reject?: boolean
  readonly override?: ('slashing' | 'reciprocal')[]
  readonly json?: boolean
}

function decideCommand(): Command {
  const command = withKey(
    new Command('decide')
      .description('approve or reject what another pool asks; a WRITE is signed with an admin key of this machine')
      .argument('<id>', 'the request: fadm_…')
      .option('--approve', 'do it, once')
      .option('--reject', 'say no')
      .addOption(
        new Option('--override <guards...>', 'approve although a guard objects; on record for ever').choices([
          'slashing',
          'reciprocal',
        ]),
      ),
    'a WRITE',
  ).action(async (id: string, options: DecideOptions, self: Command) => {
    if ((options.approve === true) === (options.reject === true))
      throw new CommandProblem('config_invalid', 'Say what you decide.', 'Give --approve or --reject.', 2)
    const client = new PoolClient(await settingsOf(self))
    const row = await client.json<RequestRow>('GET', `${base}/requests/${encodeURIComponent(id)}`)
    const approve = options.approve === true
    const override = options.override ?? []
    const signatures = row.kind === 'write' ? [await signDecision(client, options, row, { approve, override })] : []
    const body = { decision: approve ? 'approve' : 'reject', override, signatures }
    const decided = await client.json<Decided>('POST', `${base}/requests/${encodeURIComponent(id)}/decide`, body)
    print(options.json === true, decided, () => decidedText(decided))
  })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed decide fadm_0123456789abcdef --approve', 'do what that pool asks, and tell it'],
    ['lichen fed decide fadm_0123456789abcdef --approve --override slashing', 'although a worker is being convicted'],
    ['lichen fed decide fadm_0123456789abcdef --reject', 'say no'],
  ])
}

interface Decided extends RequestRow {
  readonly waiting: { readonly have: number; readonly need: number } | null
}

function decidedText({ id, state, waiting, error }: Decided): string {
  if (waiting) return `${counted(waiting.have, 'admin has', 'admins have')} approved ${id}; ${waiting.need} must.`
  const told: Readonly<Record<string, string>> = {
    rejected: 'Rejected; that pool is told.',
    executed: 'Done, and that pool knows.',
    approved: 'Done; that pool is being told.',
    executed_no_callback: 'Done. That pool cannot be reached now; it is told as soon as it can.',
    failed: `Approved, but it could not be done, and nothing of it was: ${error ?? ''}. That pool is told.`,
  }
  return clean(told[state] ?? state)
}

async function signDecision(
  client: PoolClient,
  options: SigningOptions,
  row: RequestRow,
  decision: { approve: boolean; override: ('slashing' | 'reciprocal')[] },
) {
  const [{ systemRuntime }, { adminDecisionBytes }] = await Promise.all([import('#runtime'), import('#federation')])
  const admin = await signingKey(options)
  const { pool } = await client.json<{ pool: string }>('GET', '/version')
  const signedAt = Math.floor(systemRuntime.now() / 1_000)
  const facts = {
    origin: row.peer,
    target: pool,
    requestId: row.id,
    action: row.action_type,
    params: row.action_params,
  }
  const bytes = adminDecisionBytes(facts, decision, signedAt)
  return { key_id: admin.id, signed_at: signedAt, signature: admin.sign(bytes).toString('base64') }
}

interface ToggleRow {
  readonly name: string
  readonly on: boolean
  readonly changed_at: string
  readonly changed_by: string
  readonly reason: string
}

function toggleCommand(): Command {
  const command = new Command('toggle')
    .description('switch what other pools may: READs, WRITEs, lent work; without arguments: what is on')
    .argument(
      '[kind]',
      'read: see your event log; write: have your circuits reset; accept: have jobs computed here; forward: compute yours',
      kindOf,
    )
    .argument('[state]', 'on or off', stateOf)
    .option('--reason <text>', 'kept with the act in the log')
    .action(
      async (
        kind: string | undefined,
        state: string | undefined,
        options: { reason?: string; json?: boolean },
        self: Command,
      ) => {
        const client = new PoolClient(await settingsOf(self))
        if (kind === undefined || state === undefined) {
          const list = await client.json<{ data: ToggleRow[] }>('GET', `${base}/switches`)
          const rows = list.data.map(({ name, on, changed_at, changed_by, reason }) => [
            name,
            on ? 'on' : 'off',
            changed_at,
            changed_by,
            reason,
          ])
          return print(options.json === true, list, () => table(['TOGGLE', 'STATE', 'SINCE', 'BY', 'WHY'], rows))
        }
        const wish = { name: kind, on: state === 'on', reason: options.reason ?? '' }
        const toggle = await client.json<ToggleRow>('POST', `${base}/toggles`, wish)
        print(options.json === true, toggle, () => afterToggle(toggle))
      },
    )
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed toggle', 'what is on, since when, by whom'],
    ['lichen fed toggle write on', 'needs an admin key; the safest posture is off'],
    ['lichen fed toggle read off', 'nobody sees your event log'],
    ['lichen fed toggle accept off', 'compute for no other pool, from the next job on'],
    ['lichen fed toggle forward off', 'send no request to other pools'],
  ])
}

function afterToggle({ name, on }: ToggleRow): string {
  if (name === 'accept')
    return on ? 'Jobs of pools that are trusted with them are computed.' : 'Jobs of other pools are refused.'
  if (name === 'forward') return on ? 'Other pools may compute for this one.' : 'No request goes to another pool.'
  return `Requests of the kind ${name} are ${on ? 'let in; each waits for you' : 'refused'}.`
}

const oneOf = (words: readonly string[]) => (text: string) => {
  if (!words.includes(text)) throw new InvalidArgumentError(`Give ${words.join(' or ')}.`)
  return text
}
const kindOf = oneOf(['read', 'write', 'accept', 'forward'])
const stateOf = oneOf(['on', 'off'])
