import { Command, Option } from 'commander'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'

const base = '/v1/admin/federation'
type Options = { json?: boolean }

interface FactRow {
  readonly hash: string
  readonly author: string
  readonly kind: string
  readonly name: string
  readonly value: string
  readonly at: string
}

interface FaultRow {
  readonly author: string
  readonly kind: string
  readonly facts: readonly string[]
  readonly found_at: string
}

interface NoticeRow {
  readonly id: string
  readonly kind: string
  readonly peer: string
  readonly subject: string
  readonly text: string
  readonly at: string
  readonly closed_by: string | null
}

/** `lichen fed facts|faults|discard|notices|close|witness`. */
export function factCommands(): Command[] {
  return [factsCommand(), faultsCommand(), discardCommand(), noticesCommand(), closeCommand(), witnessCommand()]
}

async function list<T>(self: Command, path: string): Promise<readonly T[]> {
  return (await new PoolClient(await settingsOf(self)).json<{ data: readonly T[] }>('GET', `${base}/${path}`)).data
}

function factsCommand(): Command {
  const command = new Command('facts')
    .description('what pools say to all others: models and prices, revocations, slashes, forks')
    .addOption(new Option('--kind <kind>', 'only these').choices(['model', 'revocation', 'slash', 'fork']))
    .action(async ({ json, kind }: Options & { kind?: string }, self: Command) => {
      const data = await list<FactRow>(self, kind === undefined ? 'facts' : `facts?kind=${kind}`)
      print(json === true, { object: 'list', data }, () =>
        data.length === 0
          ? `Nobody has said anything${kind === undefined ? '' : ` of the kind ${kind}`} yet.`
          : table(
              ['AUTHOR', 'KIND', 'NAME', 'SAID', 'VALUE'],
              data.map(({ author, kind, name, at, value }) => [
                author.slice(0, 12),
                kind,
                name,
                at,
                value.slice(0, 80),
              ]),
            ),
      )
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed facts --kind model', 'models and prices of all pools that are known'],
  ])
}

function faultsCommand(): Command {
  const command = new Command('faults')
    .description('pools that contradict themselves: two signed facts each')
    .action(async ({ json }: Options, self: Command) => {
      const data = await list<FaultRow>(self, 'facts/faults')
      print(json === true, { object: 'list', data }, () =>
        data.length === 0
          ? 'No pool contradicts itself.'
          : table(
              ['AUTHOR', 'KIND', 'FOUND', 'FACTS'],
              data.map(({ author, kind, found_at, facts }) => [author.slice(0, 12), kind, found_at, facts.join(' ')]),
            ),
      )
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed faults', 'whose words do not count for now, and why'],
  ])
}

function discardCommand(): Command {
  const command = new Command('discard')
    .description('put a fact aside, with all that go on from it, so that its author counts again')
    .argument('<hash>', 'one of the two of `lichen fed faults`')
    .action(async (hash: string, { json }: Options, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const done = await client.json<object>('POST', `${base}/facts/${encodeURIComponent(hash)}/discard`, {})
      print(json === true, done, () => clean(`${hash} is put aside.`))
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed discard 3fa9c1…', 'after its admin has told you which side is right'],
  ])
}

function noticesCommand(): Command {
  const command = new Command('notices')
    .description('what waits for you because of other pools')
    .option('--all', 'closed ones, too')
    .action(async ({ json, all }: Options & { all?: boolean }, self: Command) => {
      const data = await list<NoticeRow>(self, all === true ? 'notices?all=true' : 'notices')
      print(json === true, { object: 'list', data }, () =>
        data.length === 0
          ? 'Nothing waits for you.'
          : data
              .map(({ id, kind, peer, subject, text, at }) =>
                clean(`${at}  ${id}  ${kind}: pool ${peer.slice(0, 12)} about ${subject.slice(0, 12)}. ${text}`),
              )
              .join('\n'),
      )
    })
  return withExamples(withSettings(command, ['client']), [['lichen fed notices', 'what to look at']])
}

function closeCommand(): Command {
  const command = new Command('close')
    .description('say that you have looked at a notice')
    .argument('<id>', 'of `lichen fed notices`')
    .action(async (id: string, { json }: Options, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const done = await client.json<object>('POST', `${base}/notices/${encodeURIComponent(id)}/close`, {})
      print(json === true, done, () => 'It is closed.')
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed close 019…', 'a worker suspected because of it is checked as before'],
  ])
}

interface VoucherRow {
  readonly witness: string | null
  readonly pool: string | null
  readonly generation: number
  readonly size: number
  readonly at: string
}

interface Witnesses {
  readonly data: readonly VoucherRow[]
  readonly silent: readonly { readonly witness: string; readonly since: string }[]
}

function witnessCommand(): Command {
  const command = new Command('witness')
    .description('who vouches for whose log, and up to which leaf')
    .action(async ({ json }: Options, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const { data, silent } = await client.json<Witnesses>('GET', `${base}/witnesses`)
      print(json === true, { object: 'list', data, silent }, () =>
        [vouchersText(data), ...silent.map(silenceText)].join('\n'),
      )
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed witness', 'a history that is rewritten now is caught by these'],
  ])
}

const short = (id: string | null) => id?.slice(0, 12) ?? 'this pool'
const silenceText = ({ witness, since }: Witnesses['silent'][number]) =>
  clean(`${short(witness)} is silent since ${since}: lichen fed ping ${short(witness)}`)

function vouchersText(data: readonly VoucherRow[]): string {
  if (data.length === 0)
    return 'Nobody vouches for this pool yet. Bonded pools do, within a minute: lichen fed promote ID 3'
  return table(
    ['WITNESS', 'LOG OF', 'GENERATION', 'LEAVES', 'SIGNED'],
    data.map(({ witness, pool, generation, size, at }) => [
      short(witness),
      short(pool),
      String(generation),
      String(size),
      at,
    ]),
  )
}
