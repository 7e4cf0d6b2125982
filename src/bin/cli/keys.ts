import { Command, InvalidArgumentError, Option } from 'commander'
import { payerSignatures, roles } from '#identity'
import { assuranceLevels, formatCredits, parseCredits, privacyModes } from '#protocol'
import { systemRuntime } from '#runtime'
import { durationMs, positive, settingsOf, share, withExamples, withSettings } from './options.ts'
import { clean, print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'

/** An API key as the pool lists it; the key itself is shown once, when it is made. Budgets are micro-credits. */
export interface KeyRow {
  readonly id: string
  readonly name: string
  readonly user: string
  readonly role: string
  readonly created_at: string
  readonly expires_at: string | null
  readonly revoked_at: string | null
  readonly user_disabled_at: string | null
  readonly models: readonly string[] | null
  readonly requests_per_minute: number | null
  readonly tokens_per_minute: number | null
  readonly budget_total: string | null
  readonly budget_per_day: string | null
  readonly payer_signature: string
  readonly assurance: string | null
  readonly privacy: string
  readonly forwarding: boolean
  readonly required_workers: number | null
}

const path = '/v1/admin/keys'

export function keysCommand(): Command {
  const group = new Command()
    .addCommand(createCommand())
    .addCommand(listCommand())
    .addCommand(setCommand())
    .addCommand(revokeCommand())
  return withExamples(group, [
    ['lichen keys create laptop', 'a key for your laptop'],
    [
      'lichen keys create ci --user ada --budget 100 --budget-per-day 5',
      'a key of Ada’s that may spend so many credits',
    ],
    ['lichen keys ls', 'which keys there are'],
  ])
}

/** No limit, where one could be. (Commander makes an empty string of null.) */
const none = 'none'
/** No assurance of the key's own; `none` is a level. */
const policy = 'policy'
type Limit<T> = T | typeof none

/** What a key may. */
interface MayOptions {
  readonly role?: string
  readonly expires?: Limit<number>
  readonly models?: readonly string[]
  readonly budget?: string
  readonly budgetPerDay?: string
  readonly requestsPerMinute?: Limit<number>
  readonly tokensPerMinute?: Limit<number>
  readonly weight?: number
  readonly payerSignature?: string
  readonly assurance?: string
  readonly privacy?: string
  readonly forwarding?: 'yes' | 'no'
  readonly requiredWorkers?: Limit<number>
  readonly json?: boolean
}

/** The flags of a key. `none` is no limit. */
function withMay(command: Command): Command {
  return command
    .addOption(new Option('--role <role>', 'what it may do, at most what its user may (default: user)').choices(roles))
    .option('--budget <credits>', 'what it may spend in its life (default: no limit of its own)', limit(microCredits))
    .option('--budget-per-day <credits>', 'what it may spend on one UTC day (default: no limit)', limit(microCredits))
    .option('--requests-per-minute <n>', 'most requests in a minute (default: no limit)', limit(positive))
    .option('--tokens-per-minute <n>', 'most tokens in a minute (default: no limit)', limit(positive))
    .option('--expires <time>', 'how long it is good for from now (default: for ever)', limit(durationMs))
    .option('--models <name...>', 'the only models it may ask for (default: all)')
    .option('--weight <n>', 'its share when requests wait, 0.001 to 1000 (default: 1)', share)
    .addOption(
      new Option(
        '--payer-signature <rule>',
        '`required`: only orders that its user signed count (default: optional)',
      ).choices(payerSignatures),
    )
    .addOption(
      new Option(
        '--assurance <level>',
        'how its answers are checked unless a request says otherwise; `policy`: as the pool does (default: policy)',
      ).choices([...assuranceLevels, policy]),
    )
    .addOption(
      new Option(
        '--privacy <mode>',
        'who may see its prompts unless a request says otherwise (default: standard)',
      ).choices(privacyModes),
    )
    .addOption(
      new Option('--forwarding <answer>', 'whether other pools may compute what it asks for (default: yes)').choices([
        'yes',
        'no',
      ]),
    )
    .option(
      '--required-workers <n>',
      'workers that compute an answer with `required`, 2 to 5 (default: the pool’s)',
      limit(positive),
    )
}

/** `12.5` credits as micro-credits, in the form JSON carries. */
function microCredits(text: string): string {
  const micro = parseCredits(text)
  if (micro === undefined) throw new InvalidArgumentError('Give credits with at most six decimals, such as 10 or 0.25.')
  return micro.toString()
}

const limit =
  <T>(read: (text: string) => T) =>
  (text: string): Limit<T> =>
    text === none ? none : read(text)

/** The options as the API's members: null for no limit; what was not given stays out. */
function bodyOf(options: MayOptions): Record<string, unknown> {
  const { models } = options
  const members = {
    role: options.role,
    expires_in_ms: options.expires,
    models: models?.length === 1 && models[0] === none ? none : models,
    budget_total: options.budget,
    budget_per_day: options.budgetPerDay,
    requests_per_minute: options.requestsPerMinute,
    tokens_per_minute: options.tokensPerMinute,
    weight: options.weight,
    payer_signature: options.payerSignature,
    privacy: options.privacy,
    forwarding: options.forwarding && options.forwarding === 'yes',
    required_workers: options.requiredWorkers,
  }
  const wanted = Object.entries(members).filter(([, value]) => value !== undefined)
  const body = Object.fromEntries(wanted.map(([name, value]) => [name, value === none ? null : value]))
  if (options.assurance === undefined) return body
  return { ...body, assurance: options.assurance === policy ? null : options.assurance }
}

function createCommand(): Command {
  const command = new Command('create')
    .description('make an API key; it is shown once')
    .argument('<name>', 'what the key is for')
    .option('--user <name>', 'whose key it is (default: that of the key you send, or the first owner)')
    .action(async (name: string, options: MayOptions & { user?: string }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const body = { name, ...(options.user === undefined ? {} : { user: options.user }), ...bodyOf(options) }
      const made = await client.json<KeyRow & { key: string }>('POST', path, body)
      print(
        options.json === true,
        made,
        () => `${made.key}\n\nKept as a hash: it cannot be shown again. Its id is ${made.id}.`,
      )
    })
  return withExamples(withSettings(withMay(command), ['client']), [
    ['lichen keys create laptop', 'no limits'],
    ['lichen keys create guest --expires 7d --requests-per-minute 20', 'a guest for a week'],
    ['lichen keys create ci --user ada --budget 100 --budget-per-day 2.5', 'spends Ada’s credits, within bounds'],
    ['lichen keys create bank --assurance required', 'two workers compute each answer, and must agree'],
    ['lichen keys create watcher --user bob --role auditor', 'for LICHEN_ADMIN_KEY of a program that only looks'],
  ])
}

function listCommand(): Command {
  const command = new Command('ls')
    .description('list API keys')
    .option('--user <name>', 'only the keys of this user')
    .action(async (options: { user?: string; json?: boolean }, self: Command) => {
      const route = options.user === undefined ? path : `${path}?user=${encodeURIComponent(options.user)}`
      const data = await new PoolClient(await settingsOf(self)).all<KeyRow>(route)
      print(options.json === true, { object: 'list', data }, () => keyTable(data))
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen keys ls', 'what each may do and spend'],
    ['lichen keys ls --user ada --json', 'for a script'],
  ])
}

export function keyTable(keys: readonly KeyRow[]): string {
  if (keys.length === 0) return 'There is no API key. Make one: lichen keys create NAME'
  const head = [
    'ID',
    'NAME',
    'USER',
    'ROLE',
    'STATE',
    'BUDGET',
    'PER DAY',
    'REQUESTS/MIN',
    'TOKENS/MIN',
    'SIGNATURE',
    'ASSURANCE',
    'PRIVACY',
    'FORWARDING',
  ]
  return table([...head, 'MODELS'], keys.map(keyLine))
}

function keyLine(key: KeyRow): string[] {
  return [
    key.id,
    clean(key.name),
    clean(key.user),
    key.role,
    stateOf(key),
    credits(key.budget_total),
    credits(key.budget_per_day),
    String(key.requests_per_minute ?? '-'),
    String(key.tokens_per_minute ?? '-'),
    key.payer_signature === 'required' ? 'required' : '-',
    key.assurance ?? '-',
    key.privacy === 'standard' ? '-' : key.privacy,
    key.forwarding ? 'yes' : 'no',
    key.models?.map(clean).join(', ') ?? 'all',
  ]
}

const credits = (micro: string | null) => (micro === null ? '-' : formatCredits(BigInt(micro)))

function stateOf(key: KeyRow): string {
  if (key.revoked_at !== null) return 'revoked'
  if (key.user_disabled_at !== null) return 'user disabled'
  if (key.expires_at === null) return 'good'
  return `${Date.parse(key.expires_at) <= systemRuntime.now() ? 'expired' : 'until'} ${key.expires_at}`
}

function setCommand(): Command {
  const command = new Command('set')
    .description('change what a key may; it acts within a second, and `none` takes a limit away')
    .argument('<id>', 'the key’s id, from `lichen keys ls`')
    .action(async (id: string, options: MayOptions, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const key = await client.json<KeyRow>('POST', `${path}/${encodeURIComponent(id)}`, bodyOf(options))
      print(options.json === true, key, () => keyTable([key]))
    })
  return withExamples(withSettings(withMay(command), ['client']), [
    ['lichen keys set 01936f… --budget 250', 'it may spend 250 credits in its life, what it has spent included'],
    ['lichen keys set 01936f… --budget-per-day none', 'no limit for a day'],
  ])
}

function revokeCommand(): Command {
  const command = new Command('revoke')
    .description('refuse a key within a second')
    .argument('<id>', 'the key’s id, from `lichen keys ls`')
    .action(async (id: string, options: { json?: boolean }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const key = await client.json<KeyRow>('DELETE', `${path}/${encodeURIComponent(id)}`)
      print(options.json === true, key, () => `Revoked: ${id}.`)
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen keys revoke 01936f…', 'that key is refused from now on'],
  ])
}
