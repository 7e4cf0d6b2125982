import { z } from 'zod'
import {
  type AccountBalance,
  authorisedBy,
  type HistoryEntry,
  type OpenHoldRow,
  type Statement,
  statementCsv,
} from '#ledger'
import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import type { ApiLimits } from '../limits.ts'
import type { MoneyDeps } from '../money/money-deps.ts'
import { type Route, route, StreamReply } from '../route.ts'
import { pageOf, pageQuery, pageSchema, timeSchema, timeText } from './page.ts'
import { keyText } from './public-key.ts'

/** Amounts are micro-credits; below 0: owed, or paid. */
const accountSchema = z.strictObject({
  object: z.literal('ledger_account'),
  /** Its name: `user:<id>`, `worker:<id>`, `pool` … */
  account: z.string(),
  kind: z.string(),
  /** Raw Ed25519 key of its owner, base64url; null: none known. */
  public_key: z.string().nullable(),
  posted: z.string(),
  /** Reserved by requests that run. */
  held: z.string(),
  available: z.string(),
  /** Of its history. */
  entries: z.int(),
})

const entrySchema = z.strictObject({
  object: z.literal('ledger_entry'),
  /** Counts the account's entries from 1. */
  seq: z.int(),
  at: timeSchema,
  transfer: z.string(),
  phase: z.string(),
  kind: z.string(),
  amount: z.string(),
  /** Of the account, after it. */
  balance: z.string(),
  hold: z.string().nullable(),
  counterparties: z.array(
    z.strictObject({ account: z.string(), public_key: z.string().nullable(), amount: z.string() }),
  ),
  /** Key that signed the grant or payment; null for charges, whose orders are kept with their jobs. */
  signed_by: z.string().nullable(),
  memo: z.string().nullable(),
})

const holdSchema = z.strictObject({
  object: z.literal('ledger_hold'),
  id: z.string(),
  account: z.string(),
  amount: z.string(),
  expires_at: timeSchema,
  /** API key whose budget it counts against. */
  key_id: z.string().nullable(),
  tokens: z.int(),
})

const statementSchema = z.strictObject({
  object: z.literal('ledger_statement'),
  account: z.string(),
  public_key: z.string().nullable(),
  day: z.string(),
  opening: z.string(),
  entries: z.array(entrySchema),
  closing: z.string(),
})

const keyOrNull = (key: Buffer | null) => key && keyText(key)

function toAccount(balance: AccountBalance): z.infer<typeof accountSchema> {
  return {
    object: 'ledger_account',
    account: balance.name,
    kind: balance.kind,
    public_key: keyOrNull(balance.key),
    posted: balance.posted.toString(),
    held: balance.held.toString(),
    available: balance.available.toString(),
    entries: balance.entries,
  }
}

function toEntry(entry: HistoryEntry): z.infer<typeof entrySchema> {
  const by = authorisedBy(entry)
  return {
    object: 'ledger_entry',
    seq: entry.seq,
    at: timeText(entry.at),
    transfer: entry.transfer,
    phase: entry.phase,
    kind: entry.kind,
    amount: entry.amount.toString(),
    balance: entry.balance.toString(),
    hold: entry.hold,
    counterparties: entry.counterparties.map(({ account, key, amount }) => {
      return { account, public_key: keyOrNull(key), amount: amount.toString() }
    }),
    signed_by: by && keyText(by.key),
    memo: by ? by.memo : null,
  }
}

function toHold(hold: OpenHoldRow): z.infer<typeof holdSchema> {
  return {
    object: 'ledger_hold',
    id: hold.id,
    account: hold.account,
    amount: hold.amount.toString(),
    expires_at: timeText(hold.expiresAt),
    key_id: hold.key,
    tokens: hold.tokens,
  }
}

/** {@link statementSchema}, page by page: a busy account has more entries in a day than memory should hold. */
async function* statementJson({ account, key, day, opening, closing, pages }: Statement): AsyncGenerator<string> {
  const head = { object: 'ledger_statement', account, public_key: keyOrNull(key), day, opening: opening.toString() }
  yield `${JSON.stringify(head).slice(0, -1)},"entries":[`
  let comma = ''
  for await (const page of pages()) {
    yield comma + page.map((entry) => JSON.stringify(toEntry(entry))).join(',')
    comma = ','
  }
  yield `],"closing":"${closing}"}`
}

const accountName = z
  .string()
  .regex(/^[a-z_]+(?::[0-9a-f-]+)?$/, 'the name of an account, such as treasury or user:<id>')
const csvType = 'text/csv; charset=utf-8; header=present'
/** The reply is a file of this name. */
const asFile = (name: string) => ['content-disposition', `attachment; filename="${name}"`]

type Needs = Pick<MoneyDeps, 'ledger'>

/** The books, to be read: balances, histories, holds, statements, everything. */
export function ledgerRoutes(money: Needs, runtime: Pick<Runtime, 'now'>, limits: ApiLimits): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/admin/ledger/accounts',
      caller: 'auditor',
      summary: 'Accounts and their balances, by name.',
      query: pageQuery(limits, accountName),
      reply: pageSchema(accountSchema),
      handle: ({ query }) => pageOf(query, (page) => money.ledger.balances(page), toAccount),
    }),
    route({
      method: 'GET',
      path: '/v1/admin/ledger/accounts/:name',
      caller: 'auditor',
      summary: 'One account and its balance.',
      reply: accountSchema,
      handle: async ({ params }) => toAccount(await money.ledger.balance(params.name ?? '')),
    }),
    route({
      method: 'GET',
      path: '/v1/admin/ledger/accounts/:name/history',
      caller: 'auditor',
      summary: 'What changed an account, newest first; the next page begins `after` the last `seq`.',
      query: pageQuery(limits, z.string().regex(/^[1-9]\d{0,14}$/, 'a whole number from 1 up, in decimal')),
      reply: pageSchema(entrySchema),
      handle: ({ params, query }) =>
        pageOf(
          query,
          ({ limit, after }) =>
            money.ledger.history(params.name ?? '', {
              limit,
              ...(after === undefined ? {} : { before: Number(after) }),
            }),
          toEntry,
        ),
    }),
    route({
      method: 'GET',
      path: '/v1/admin/ledger/accounts/:name/statement',
      caller: 'auditor',
      summary: 'One UTC day of an account, from the opening to the closing balance, as JSON or CSV.',
      query: z.strictObject({ day: z.iso.date().optional(), format: z.enum(['json', 'csv']).default('json') }),
      reply: statementSchema,
      handle: async ({ params, query }) => {
        const name = params.name ?? ''
        const day = query.day ?? timeText(runtime.now()).slice(0, 10)
        const statement = await money.ledger.statement(name, day)
        const csv = query.format === 'csv'
        return csv
          ? new StreamReply(csvType, statementCsv(statement), asFile(`${name.replace(':', '-')}-${day}.csv`))
          : new StreamReply('application/json; charset=utf-8', statementJson(statement))
      },
    }),
    route({
      method: 'GET',
      path: '/v1/admin/ledger/holds',
      caller: 'auditor',
      summary: 'Open holds: what running requests have reserved, by id.',
      query: pageQuery(limits, z.guid()).extend({ account: accountName.optional() }),
      reply: pageSchema(holdSchema),
      handle: ({ query: { account, ...query } }) =>
        pageOf(query, (page) => money.ledger.holds({ ...page, ...(account === undefined ? {} : { account }) }), toHold),
    }),
    exportRoute(money, limits),
  ]
}

function exportRoute(money: Needs, limits: ApiLimits): Route {
  let running = 0
  /** Counts itself out when it was read to its end, or was left. */
  async function* counted(pieces: AsyncIterable<string>): AsyncGenerator<string> {
    running++
    try {
      yield* pieces
    } finally {
      running--
    }
  }
  return route({
    method: 'GET',
    path: '/v1/admin/ledger/export',
    caller: 'auditor',
    summary: 'Every transfer there is, streamed: JSON lines (one each) or CSV (one for each who is paid).',
    query: z.strictObject({ format: z.enum(['jsonl', 'csv']).default('jsonl') }),
    handle: ({ query: { format } }) => {
      if (running >= limits.exportsMax) {
        throw new PoolError('overloaded', 'Other exports are running.', 'Try again when they have ended.')
      }
      const type = format === 'csv' ? csvType : 'application/jsonl; charset=utf-8'
      return new StreamReply(type, counted(money.ledger.exportRows(format)), asFile(`ledger.${format}`))
    },
  })
}
