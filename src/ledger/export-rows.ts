import type { Sql } from '#storage'
import { authorisedBy } from './authorised-by.ts'
import { csv } from './csv.ts'
import { ledgerLimits } from './limits.ts'
import { scanTransfers } from './read-transfers.ts'
import type { TransferRow } from './transfer-leaf.ts'

/** Every transfer in order of id, page by page. */
async function* allTransfers(sql: Sql): AsyncGenerator<readonly TransferRow[]> {
  for (let after: string | null = null; ; ) {
    const page = await scanTransfers(sql, after, ledgerLimits.scanRowsMax)
    if (page.length > 0) yield page
    if (page.length < ledgerLimits.scanRowsMax) return
    after = page.at(-1)?.id ?? after
  }
}

/** Public keys of accounts, by name. */
type Keys = ReadonlyMap<string, Buffer>

async function keysOf(sql: Sql, names: readonly string[]): Promise<Keys> {
  const rows = await sql<{ name: string; key: Buffer }[]>`
    select * from (select name, key_of(a) as key from accounts a where name = any (${[...new Set(names)]}::text[])) k
     where key is not null`
  return new Map(rows.map(({ name, key }) => [name, key]))
}

/** A transfer as exports show it: amounts as decimal strings, keys and signed bytes as base64url. */
function transferJson(row: TransferRow, keys: Keys): unknown {
  return {
    id: row.id,
    phase: row.phase,
    kind: row.kind,
    at: new Date(row.at).toISOString(),
    amount: String(row.amount),
    from: { account: row.from, public_key: keys.get(row.from)?.toString('base64url') ?? null },
    to: row.to.map(({ account, amount }) => {
      return { account, public_key: keys.get(account)?.toString('base64url') ?? null, amount: String(amount) }
    }),
    hold: row.hold,
    expires_at: row.expiresAt === null ? null : new Date(row.expiresAt).toISOString(),
    key_id: row.key,
    tokens: row.tokens,
    signed_by: authorisedBy(row)?.key.toString('base64url') ?? null,
    memo: authorisedBy(row)?.memo ?? null,
    authorisation: row.authorisation?.toString('base64url') ?? null,
  }
}

const head = [
  ...['id', 'phase', 'kind', 'at', 'from', 'from_key', 'to', 'to_key', 'amount', 'hold', 'tokens'],
  ...['signed_by', 'memo', 'authorisation'],
]

/** One line for each leg, or one without a payee when nothing moved. Keys are hex: no cell begins with a sign. */
function csvLines(row: TransferRow, keys: Keys): string[][] {
  const { id, phase, kind, at, from, hold, tokens, authorisation } = row
  const by = authorisedBy(row)
  const hexOf = (name: string) => keys.get(name)?.toString('hex') ?? ''
  const legs = row.to.length > 0 ? row.to : [{ account: '', amount: row.amount }]
  return legs.map(({ account, amount }) => [
    ...[id, phase, kind, new Date(at).toISOString(), from, hexOf(from), account, hexOf(account)],
    ...[String(amount), hold ?? '', String(tokens), by?.key.toString('hex') ?? '', by?.memo ?? ''],
    authorisation?.toString('base64url') ?? '',
  ])
}

/** The whole history as text, piece by piece: JSON lines (a transfer each) or CSV (a leg each). */
export async function* exportRows(sql: Sql, format: 'jsonl' | 'csv'): AsyncGenerator<string> {
  if (format === 'csv') yield csv([head])
  for await (const page of allTransfers(sql)) {
    const keys = await keysOf(
      sql,
      page.flatMap((row) => [row.from, ...row.to.map((leg) => leg.account)]),
    )
    if (format === 'csv') yield csv(page.flatMap((row) => csvLines(row, keys)))
    else yield page.map((row) => `${JSON.stringify(transferJson(row, keys))}\n`).join('')
  }
}
