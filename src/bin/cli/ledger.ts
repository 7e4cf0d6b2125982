import { Command, InvalidArgumentError, Option } from 'commander'
import { asTyped } from '../as-typed.ts'
import { accountOf } from './account-name.ts'
import { creditsText } from './amounts.ts'
import { positive, settingsOf, withExamples, withSettings } from './options.ts'
import { print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'
import { saveAnswer } from './save-answer.ts'

/** Amounts are micro-credits, as the pool sends them. */
interface AccountRow {
  readonly account: string
  readonly public_key: string | null
  readonly posted: string
  readonly held: string
  readonly available: string
}

interface EntryRow {
  readonly seq: number
  readonly at: string
  readonly transfer: string
  readonly kind: string
  readonly amount: string
  readonly balance: string
  readonly counterparties: readonly { readonly account: string; readonly amount: string }[]
  readonly signed_by: string | null
  readonly memo: string | null
}

interface HoldRow {
  readonly id: string
  readonly account: string
  readonly amount: string
  readonly expires_at: string
  readonly key_id: string | null
}

interface StatementRow {
  readonly account: string
  readonly day: string
  readonly opening: string
  readonly entries: readonly EntryRow[]
  readonly closing: string
}

const path = '/v1/admin/ledger'
const routeOf = (account: string, rest = '') => `${path}/accounts/${encodeURIComponent(account)}${rest}`
const whose = 'an account (`pool`, `worker:…`), or a user by name or id'

export function ledgerCommand(): Command {
  const group = new Command()
    .addCommand(balanceCommand())
    .addCommand(historyCommand())
    .addCommand(statementCommand())
    .addCommand(holdsCommand())
    .addCommand(exportCommand())
  return withExamples(group, [
    ['lichen ledger balance', 'who has what'],
    ['lichen ledger history ada', 'what Ada paid and was paid'],
    ['lichen ledger export --out ledger.jsonl', 'every transfer there is'],
  ])
}

function balanceCommand(): Command {
  const command = new Command('balance')
    .description('what an account has, or all of them')
    .argument('[account]', whose)
    .action(async (who: string | undefined, options: { json?: boolean }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      if (who === undefined) {
        const data = await client.allBy<AccountRow>(`${path}/accounts`, (row) => row.account)
        print(options.json === true, { object: 'list', data }, () => balanceTable(data))
      } else {
        const row = await client.json<AccountRow>('GET', routeOf(await accountOf(client, who)))
        print(options.json === true, row, () => balanceTable([row]))
      }
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen ledger balance ada', 'what Ada has'],
    ['lichen ledger balance', 'all accounts; issuance is below zero by what there is'],
  ])
}

function balanceTable(rows: readonly AccountRow[]): string {
  const head = ['ACCOUNT', 'CREDITS', 'HELD', 'AVAILABLE', 'PUBLIC KEY']
  const lines = rows.map(({ account, posted, held, available, public_key: key }) => {
    return [account, creditsText(posted), creditsText(held), creditsText(available), key ?? '-']
  })
  return table(head, lines)
}

interface HistoryOptions {
  readonly limit: number
  readonly before?: number
  readonly json?: boolean
}

function historyCommand(): Command {
  const command = new Command('history')
    .description('what changed an account, newest first')
    .argument('<account>', whose)
    .option('--limit <n>', 'most entries, at most 500', positive, 50)
    .option('--before <seq>', 'only what lies before this entry', positive)
    .action(async (who: string, { limit, before, json }: HistoryOptions, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const page = `?limit=${limit}${before === undefined ? '' : `&after=${before}`}`
      const route = routeOf(await accountOf(client, who), `/history${page}`)
      const list = await client.json<{ data: EntryRow[]; has_more: boolean }>('GET', route)
      print(json === true, list, () => `${entryTable(list.data)}${moreOf(list, who)}`)
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen ledger history ada', 'the last 50 changes'],
    ['lichen ledger history treasury --limit 500 --json', 'with ids and the public keys of everybody'],
  ])
}

function entryTable(entries: readonly EntryRow[]): string {
  const head = ['SEQ', 'AT', 'KIND', 'CREDITS', 'BALANCE', 'WITH', 'SIGNED BY', 'MEMO']
  const lines = entries.map((entry) => [
    String(entry.seq),
    entry.at,
    entry.kind,
    creditsText(entry.amount),
    creditsText(entry.balance),
    entry.counterparties.map(({ account }) => shortName(account)).join(' '),
    entry.signed_by ?? '-',
    entry.memo ?? '',
  ])
  return table(head, lines)
}

/** Workers are known by the first digits of their ids; users' accounts stay whole, to be copied. */
const shortName = (account: string) => account.replace(/([0-9a-f]{12})[0-9a-f]{52}/, '$1…')

function moreOf({ data, has_more: more }: { data: EntryRow[]; has_more: boolean }, who: string): string {
  const last = data.at(-1)
  return more && last ? asTyped(`\n\nThere is more: lichen ledger history ${who} --before ${last.seq}`) : ''
}

interface StatementOptions {
  readonly day?: string
  readonly format?: 'json' | 'csv'
  readonly json?: boolean
}

function statementCommand(): Command {
  const command = new Command('statement')
    .description('one UTC day of an account, from the opening to the closing balance')
    .argument('<account>', whose)
    .option('--day <day>', 'YYYY-MM-DD (default: today)', dayOf)
    .addOption(new Option('--format <format>', 'instead of a table').choices(['json', 'csv']).conflicts('json'))
    .action(async (who: string, { day, format, json }: StatementOptions, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const query = `?format=${format ?? 'json'}${day === undefined ? '' : `&day=${day}`}`
      const route = routeOf(await accountOf(client, who), `/statement${query}`)
      if (format === 'csv') await saveAnswer(client, route)
      else {
        const statement = await client.json<StatementRow>('GET', route)
        print(json === true || format === 'json', statement, () => statementText(statement))
      }
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen ledger statement ada', 'today so far'],
    ['lichen ledger statement pool --day 2026-11-19 --format csv', 'yesterday, for a spreadsheet'],
  ])
}

function statementText({ account, day, opening, entries, closing }: StatementRow): string {
  const middle = entries.length === 0 ? 'Nothing changed it.' : entryTable(entries)
  return `${account} on ${day}\n\nopening ${creditsText(opening)}\n\n${middle}\n\nclosing ${creditsText(closing)}`
}

function holdsCommand(): Command {
  const command = new Command('holds')
    .description('what running requests have reserved')
    .option('--account <account>', whose)
    .action(async ({ account, json }: { account?: string; json?: boolean }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const query = account === undefined ? '' : `?account=${encodeURIComponent(await accountOf(client, account))}`
      const data = await client.all<HoldRow>(`${path}/holds${query}`)
      print(json === true, { object: 'list', data }, () => {
        if (data.length === 0) return 'Nothing is reserved.'
        const head = ['HOLD', 'ACCOUNT', 'CREDITS', 'EXPIRES', 'API KEY']
        const lines = data.map((hold) => {
          return [hold.id, hold.account, creditsText(hold.amount), hold.expires_at, hold.key_id ?? '-']
        })
        return table(head, lines)
      })
    })
  return withExamples(withSettings(command, ['client']), [['lichen ledger holds --account ada', 'what Ada waits for']])
}

interface ExportOptions {
  readonly format: 'jsonl' | 'csv'
  readonly out?: string
  readonly json?: boolean
}

function exportCommand(): Command {
  const command = new Command('export')
    .description('every transfer there is, by id')
    .addOption(
      new Option('--format <format>', 'a JSON document for each transfer, or a line for each who is paid')
        .choices(['jsonl', 'csv'])
        .default('jsonl'),
    )
    .option('--out <file>', 'into a file, which appears when it is complete (default: stdout)')
    .action(async ({ format, out, json }: ExportOptions, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const bytes = await saveAnswer(client, `${path}/export?format=${format}`, out)
      if (out !== undefined) print(json === true, { file: out, bytes }, () => `${bytes} bytes in ${out}.`)
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen ledger export --out ledger.jsonl', 'for a program'],
    ['lichen ledger export --format csv --out ledger.csv', 'for a spreadsheet'],
  ])
}

function dayOf(text: string): string {
  const day = /^\d{4}-\d\d-\d\d$/.test(text) ? new Date(`${text}T00:00:00Z`) : undefined
  if (day && Number.isFinite(day.getTime()) && day.toISOString().startsWith(text)) return text
  throw new InvalidArgumentError('Write the day as YYYY-MM-DD.')
}
