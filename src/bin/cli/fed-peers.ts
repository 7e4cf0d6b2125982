import { Command, InvalidArgumentError } from 'commander'
import { creditsText } from './amounts.ts'
import { placeOrBundleIn } from './bundle-file.ts'
import { positive, settingsOf, withExamples, withSettings } from './options.ts'
import { clean, counted, print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'
import { CommandProblem } from './problem.ts'
import { signBond } from './sign-acceptance.ts'
import { type SigningOptions, withKey } from './signing-key.ts'

interface Counts {
  readonly successes: number
  readonly failures: number
  readonly mismatches: number
}

/** A pool as the pool lists it. */
interface PeerRow {
  readonly id: string
  readonly name: string
  readonly url: string
  readonly public_key: string
  readonly trust: number
  readonly revoked: boolean
  readonly version: number
  readonly our_level: number
  readonly their_level: number | null
  readonly met_at: string
  readonly reachable: boolean
  readonly seen_at: string | null
  readonly took_ms: number | null
  readonly problem: string | null
  readonly models: readonly string[]
  readonly record: Counts & { readonly lately: Counts; readonly last_why: string }
}

interface Acceptance {
  readonly level: number
  readonly key_id: string
  /** Unix seconds. */
  readonly signed_at: number
  readonly signature: string
}

/** One pool in full. */
interface PeerDetails extends PeerRow {
  readonly bond: {
    readonly ours: Acceptance | null
    readonly theirs: Acceptance | null
    readonly problems: readonly { text: string }[]
  }
}

interface Info {
  readonly id: string
  readonly mode: string
  readonly killed: boolean
  readonly name: string
  readonly url: string
  readonly public_key: string
  readonly bundle: string
}

type Options = { json?: boolean }

const base = '/v1/admin/federation'
const idText = 'the pool: its id, or the first six digits or more'
const routeOf = (id: string, rest = '') => `${base}/peers/${encodeURIComponent(id)}${rest}`
const levels = ['revoked', 'known', 'trusted', 'bonded', 'settlement']
const levelText = (level: number) => `${level} ${levels[level] ?? ''}`

/** `fed`’s commands about other pools. */
export function peerCommands(): Command[] {
  return [
    infoCommand(),
    addCommand(),
    listCommand(),
    showCommand(),
    promoteCommand(),
    demoteCommand(),
    confirmCommand(),
    statementCommand(),
    ...actCommands(),
  ]
}

function infoCommand(): Command {
  const command = new Command('info')
    .description(
      'say who this pool is to others; the last line is for handing over in person (as text, or as a QR code)',
    )
    .action(async (options: Options, self: Command) => {
      const info = await new PoolClient(await settingsOf(self)).json<Info>('GET', base)
      print(options.json === true, info, () => infoText(info))
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed info', 'name, id, address, key and bundle'],
    ['lichen fed info --json | jq -r .bundle | qrencode -t utf8', 'the bundle as a QR code in the terminal'],
  ])
}

function infoText({ id, mode, killed, name, url, public_key, bundle }: Info): string {
  const state = killed ? 'switched off by the kill switch' : mode
  const rows = [
    ['id', id],
    ['url', url === '' ? 'none: set public_url, or others cannot call back' : url],
    ['key', public_key],
    ['federation', state],
  ]
  return `${table(['POOL', name], rows)}\n\n${clean(bundle)}`
}

function addCommand(): Command {
  const command = new Command('add')
    .description('meet the pool at a URL, or the one of a bundle that its admin handed over')
    .argument('<where>', 'https://…, or the line of `lichen fed info` there, or a file that holds it')
    .option('--id <id>', 'only if it is this pool (64 digits)')
    .action(async (where: string, options: Options & { id?: string }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const body = { where: await placeOrBundleIn(where), ...(options.id === undefined ? {} : { id: options.id }) }
      const peer = await client.json<PeerRow & { told: boolean }>('POST', `${base}/peers`, body)
      print(options.json === true, peer, () => addedText(peer))
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed add https://pool.example', 'compare the id it prints with what its admin told you'],
    ['lichen fed add anna.txt', 'what was handed over on a stick; it counts though the pool is out of reach'],
  ])
}

function addedText({ id, name, trust, told, problem }: PeerRow & { told: boolean }): string {
  const there = told ? 'It knows this pool now.' : `It was not told: ${problem ?? 'nobody knows why'}`
  return clean(`${id}  ${name}: ${levelText(trust)}. ${there}`)
}

function listCommand(): Command {
  const command = new Command('ls')
    .description('list the pools that are known here')
    .action(async (options: Options, self: Command) => {
      const data = await new PoolClient(await settingsOf(self)).all<PeerRow>(`${base}/peers`)
      print(options.json === true, { object: 'list', data }, () =>
        data.length === 0
          ? 'No other pool is known. Meet one: lichen fed add https://…'
          : table(['ID', 'NAME', 'TRUST', 'SEEN', 'V', 'OK/FAILED/WRONG', 'MODELS', 'URL'], data.map(peerLine)),
      )
    })
  return withExamples(withSettings(command, ['client']), [['lichen fed ls --json', 'for a script']])
}

const seenText = ({ trust, reachable, seen_at, problem }: PeerRow) =>
  reachable
    ? 'reachable'
    : seen_at !== null || problem !== null
      ? 'unreachable'
      : trust >= 2
        ? 'not yet'
        : 'not looked for'

const countsText = ({ successes, failures, mismatches }: Counts) => `${successes}/${failures}/${mismatches}`

function peerLine(peer: PeerRow): string[] {
  const { id, name, trust, version, record, models, url } = peer
  return [
    id.slice(0, 12),
    name,
    trustText(peer, trust),
    seenText(peer),
    String(version),
    countsText(record),
    models.join(', '),
    url,
  ]
}

/** A bond of version 1 is one side's alone; one that waits for the other side says so. */
function trustText({ our_level, their_level, revoked }: PeerRow, trust: number): string {
  if (revoked) return levelText(0)
  if (trust >= 3 && their_level === null) return `${levelText(trust)} (one side)`
  if (our_level > trust) return `${levelText(trust)}, ${our_level} awaits them`
  return their_level !== null && their_level > trust
    ? `${levelText(trust)}, ${their_level} awaits us`
    : levelText(trust)
}

function showCommand(): Command {
  const command = new Command('show')
    .description('everything known about one pool')
    .argument('<id>', idText)
    .action(async (id: string, options: Options, self: Command) => {
      const peer = await new PoolClient(await settingsOf(self)).json<PeerDetails>('GET', routeOf(id))
      print(options.json === true, peer, () => detailsOf(peer))
    })
  return withExamples(withSettings(command, ['client']), [['lichen fed show 3fa9c1', 'one pool']])
}

function detailsOf(peer: PeerDetails): string {
  const { id, name, url, public_key, trust, version, their_level, met_at, seen_at, took_ms, problem, bond } = peer
  const took = took_ms === null ? '' : `, ${took_ms.toFixed(0)} ms`
  return table(
    ['POOL', id],
    [
      ['name', name],
      ['url', url],
      ['key', public_key],
      ['trust', trustText(peer, trust)],
      ['our word', acceptanceText(bond.ours)],
      ['their word', their_level === null ? 'version 1 cannot say' : acceptanceText(bond.theirs)],
      ...bond.problems.map(({ text }) => ['the bond waits', text]),
      ['envelope', `version ${version}`],
      ['met', met_at],
      ['seen', `${seen_at ?? 'never'}${took}`],
      ...(problem === null ? [] : [['problem', problem]]),
      ['ok/failed/wrong', `${countsText(peer.record)}; within a day ${countsText(peer.record.lately)}`],
      ...(peer.record.last_why === '' ? [] : [['last trouble', peer.record.last_why]]),
      ['models', peer.models.join(', ')],
    ],
  )
}

const acceptanceText = (one: Acceptance | null) =>
  one === null
    ? 'none'
    : `${levelText(one.level)}: signed by admin key ${one.key_id.slice(0, 12)}, ${new Date(one.signed_at * 1_000).toISOString()}`

function level(least: number, most: number) {
  return (text: string): number => {
    const number = /^\d$/.test(text) ? Number(text) : -1
    if (number < least || number > most) throw new InvalidArgumentError(`Give a level from ${least} to ${most}.`)
    return number
  }
}

type PromoteOptions = Options & SigningOptions

function promoteCommand(): Command {
  const command = withKey(
    new Command('promote')
      .description('trust a pool more: 2 jobs, 3 bonded (requests of its admins, replication), 4 settlement')
      .argument('<id>', idText)
      .argument('<level>', '2, 3 or 4; from 3 on it is signed with an admin key of this machine', level(2, 4)),
    'a bond',
  ).action(async (id: string, to: number, options: PromoteOptions, self: Command) => {
    const client = new PoolClient(await settingsOf(self))
    const signature = to >= 3 ? await bondSignature(client, options, id, to as 3 | 4) : undefined
    const body = { level: to, ...(signature ? { signature } : {}) }
    const peer = await client.json<PeerDetails & { awaiting: boolean }>('POST', routeOf(id, '/promote'), body)
    print(options.json === true, peer, () => promotedText(peer, to))
  })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed promote 3fa9c1 2', 'it may send jobs here, and jobs may go there'],
    ['lichen fed promote 3fa9c1 3', 'bonded, once an admin of that pool has signed the same'],
    ['lichen fed promote 3fa9c1 3 --key ada', 'signed with that admin key of this machine'],
  ])
}

/** A pool that speaks version 1 cannot take one: its level is this side's alone. */
async function bondSignature(client: PoolClient, options: SigningOptions, asked: string, to: 3 | 4) {
  const peer = await client.json<PeerRow>('GET', routeOf(asked))
  return peer.version === 2 ? signBond(client, options, { asked, receiver: peer.id, level: to }) : undefined
}

function promotedText(peer: PeerDetails & { awaiting: boolean }, to: number): string {
  const waits = peer.awaiting
    ? [`Level ${to} begins when an admin there has signed, too, and each pool knows the other’s admin key.`]
    : []
  const problems = peer.bond.problems.map(({ text }) => `The bond waits. ${text}`)
  return [`${peer.id}  ${peer.name}: ${trustText(peer, peer.trust)}.`, ...waits, ...problems].map(clean).join('\n')
}

function demoteCommand(): Command {
  const command = new Command('demote')
    .description('trust a pool less')
    .argument('<id>', idText)
    .argument('<level>', '1, 2 or 3', level(1, 3))
    .action(async (id: string, to: number, options: Options, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const peer = await client.json<PeerRow>('POST', routeOf(id, '/demote'), { level: to })
      print(options.json === true, peer, () => clean(`${peer.id}  ${peer.name}: ${trustText(peer, peer.trust)}.`))
    })
  return withExamples(withSettings(command, ['client']), [['lichen fed demote 3fa9c1 1', 'no more jobs, either way']])
}

function confirmCommand(): Command {
  const command = withKey(
    new Command('confirm')
      .description(
        'let another key stand in the place of a pool’s, which that has named; ask its admin in person first',
      )
      .argument('<old>', idText)
      .argument('<new>', 'the whole id of the new key, as its admin told you'),
    'the bond anew',
  ).action(async (id: string, successor: string, options: PromoteOptions, self: Command) => {
    const client = new PoolClient(await settingsOf(self))
    const { version, our_level } = await client.json<PeerRow>('GET', routeOf(id))
    const bonded = version === 2 && (our_level === 3 || our_level === 4) ? our_level : undefined
    const signature = bonded && (await signatureIfAny(client, options, successor, bonded))
    const body = { successor, ...(signature ? { signature } : {}) }
    const peer = await client.json<PeerRow>('POST', routeOf(id, '/confirm'), body)
    const again =
      bonded && !signature
        ? ` No admin key here: where one lies, lichen fed promote ${peer.id.slice(0, 12)} ${bonded}.`
        : ''
    print(options.json === true, peer, () =>
      clean(`${peer.id}  ${peer.name}: ${trustText(peer, peer.trust)}. The old key counts no more.${again}`),
    )
  })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed confirm 3fa9c1 77b0e2…', 'Anna has rotated her pool’s key, and told you so'],
  ])
}

/** The bond goes on at once where an admin key lies on this machine; else later. */
async function signatureIfAny(client: PoolClient, options: SigningOptions, receiver: string, to: 3 | 4) {
  try {
    return await signBond(client, options, { asked: receiver, receiver, level: to })
  } catch (error) {
    const none = error instanceof CommandProblem && error.code === 'not_found'
    if (none && options.key === undefined && options.file === undefined) return undefined
    throw error
  }
}

interface StatementReply {
  readonly since: string
  readonly until: string
  readonly owed_to_us: string
  readonly owed_to_them: string
  readonly jobs: number
  readonly differences: readonly { id: string; by: 'us' | 'them'; ours: string | null; theirs: string | null }[]
}

function statementCommand(): Command {
  const command = new Command('statement')
    .description('exchange signed statements of work with a pool, and say where they differ')
    .argument('<id>', idText)
    .option('--days <n>', 'how far back, ending two minutes ago (default: 30)', positive)
    .action(async (id: string, options: Options & { days?: number }, self: Command) => {
      const body = options.days === undefined ? {} : { days: options.days }
      const client = new PoolClient(await settingsOf(self))
      const statement = await client.json<StatementReply>('POST', routeOf(id, '/statement'), body)
      print(options.json === true, statement, () => statementText(statement))
      if (statement.differences.length > 0)
        throw new CommandProblem(
          'statements_differ',
          `The pools differ about ${counted(statement.differences.length, 'job', 'jobs')}.`,
          'Keep both statements (--json), and talk to the other admin.',
          1,
        )
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed statement 3fa9c1 --json > june.json', 'with both signatures, to keep'],
  ])
}

const amountText = (micro: string | null) => (micro === null ? 'not known' : creditsText(micro))

function statementText({ since, until, owed_to_us, owed_to_them, jobs, differences }: StatementReply): string {
  const rows = [
    ['to', until],
    ['jobs both agree on', String(jobs)],
    ['owed to us', amountText(owed_to_us)],
    ['owed to them', amountText(owed_to_them)],
  ]
  const head = table(['FROM', since], rows)
  if (differences.length === 0) return head
  const lines = differences.map(({ id, by, ours, theirs }) => [id, by, amountText(ours), amountText(theirs)])
  return `${head}\n\n${table(['JOB', 'COMPUTED BY', 'OURS', 'THEIRS'], lines)}`
}

interface Ping {
  readonly ok: boolean
  readonly took_ms: number
  readonly version: number
  readonly problem: string | null
}

function actCommands(): Command[] {
  const act = (name: string, does: string, example: string) =>
    withExamples(
      withSettings(
        new Command(name)
          .description(does)
          .argument('<id>', idText)
          .action(async (id: string, options: Options, self: Command) => {
            const peer = await new PoolClient(await settingsOf(self)).json<PeerRow>('POST', routeOf(id, `/${name}`), {})
            print(options.json === true, peer, () => clean(`${peer.id}  ${peer.name}: ${trustText(peer, peer.trust)}.`))
          }),
        ['client'],
      ),
      [[`lichen fed ${name} 3fa9c1`, example]],
    )
  const ping = new Command('ping')
    .description('ask a pool to sign fresh bytes: who answers holds its key now')
    .argument('<id>', idText)
    .action(async (id: string, options: Options, self: Command) => {
      const answer = await new PoolClient(await settingsOf(self)).json<Ping>('POST', routeOf(id, '/ping'), {})
      print(options.json === true, answer, () =>
        answer.ok ? `It is there: ${answer.took_ms.toFixed(0)} ms, version ${answer.version}.` : 'It is not there.',
      )
      if (!answer.ok) {
        const fix = 'Its people know whether it runs; `lichen fed show` names the address it was asked at.'
        throw new CommandProblem('peer_unreachable', answer.problem ?? 'It did not prove its key.', fix, 1)
      }
    })
  return [
    act(
      'revoke',
      'cut a pool off for good; what runs with it ends within a second',
      'nothing it signs counts any more',
    ),
    act(
      'allow-v1',
      'hear a pool in version 1 again, after it has spoken version 2',
      'its admin went back to an older program',
    ),
    withExamples(withSettings(ping, ['client']), [['lichen fed ping 3fa9c1', 'is it there, and is it the one?']]),
  ]
}
