import { type Tx, texts, uuids } from '#storage'
import { kindToMake } from './account-name.ts'
import type { Account, Books, Budget, OpenHold } from './books.ts'
import type { LedgerOp } from './ledger-op.ts'
import { readTransfers } from './read-transfers.ts'

/** The answer of `ledger_read` (migration 0005): columns as PostgreSQL array literals; null: no row. */
interface Answer {
  readonly name_ids: string | null
  readonly account_ids: string | null
  readonly floors: string | null
  readonly posteds: string | null
  readonly helds: string | null
  readonly seqs: string | null
  readonly last_ats: string | null
  readonly open_ids: string | null
  readonly open_accounts: string | null
  readonly open_amounts: string | null
  readonly open_expires: string | null
  readonly open_keys: string | null
  readonly open_tokens: string | null
  readonly open_days: string | null
  readonly open_minutes: string | null
  readonly budget_keys: string | null
  readonly spents: string | null
  readonly reserveds: string | null
  readonly days: string | null
  readonly day_useds: string | null
  readonly minutes: string | null
  readonly request_counts: string | null
  readonly token_counts: string | null
  readonly known_ids: string[] | null
  readonly bootstrapped: boolean
}

/** Items of an array literal none of which holds a comma, a brace or a backslash. */
const items = (literal: string | null): string[] => {
  if (literal === null || literal.length <= 2) return []
  return literal.slice(1, -1).split(',')
}

/** Everything operations name: account names (and what to make when there is none), ids, holds, keys. */
function namedBy(ops: readonly LedgerOp[]) {
  const accounts = new Map<string, string | null>()
  const ids = new Set<string>()
  const holds = new Set<string>()
  const keys = new Set<string>()
  const name = (account: string, make: string | null = null) => {
    if (make !== null || !accounts.has(account)) accounts.set(account, make)
  }
  for (const op of ops) {
    ids.add(op.id)
    if (op.op === 'hold') {
      name(op.account)
      if (op.budget) keys.add(op.budget.key)
    } else if (op.op === 'transfer') {
      name(op.from)
      name(op.to, kindToMake(op.to))
    } else {
      holds.add(op.hold)
      if (op.op === 'post') for (const leg of op.legs) name(leg.account, kindToMake(leg.account))
    }
  }
  return { accounts, ids: [...ids], holds: [...holds], keys: [...keys] }
}

/** Locks and reads what the operations can touch. One round trip; another one when some id was used before. */
export async function readBooks(tx: Tx, ops: readonly LedgerOp[]): Promise<Books> {
  const named = namedBy(ops)
  const names = [...named.accounts.keys()]
  const [answer] = await tx<Answer[]>`
    select * from ledger_read(
      ${texts(names)}::text[], ${texts([...named.accounts.values()])}::text[], ${uuids(named.ids)}::uuid[],
      ${uuids(named.holds)}::uuid[], ${texts(named.keys)}::text[])`
  if (!answer) throw new Error('ledger_read answered nothing')
  const byId = readAccounts(answer)
  const accounts = new Map<string, Account>()
  for (const [at, id] of items(answer.name_ids).entries()) {
    const account = byId.get(Number(id))
    if (account) accounts.set(names[at] ?? '', account)
  }
  return {
    accounts,
    holds: readHolds(answer, byId),
    budgets: readBudgets(answer),
    keysBefore: new Set(items(answer.budget_keys)),
    known: answer.known_ids ? await readTransfers(tx, answer.known_ids) : new Map(),
    bootstrapped: answer.bootstrapped,
    transfers: [],
    entries: [],
    closed: new Set(),
    opened: new Map(),
    changedBudgets: new Set(),
    changedAccounts: new Set(),
  }
}

function readAccounts(answer: Answer): Map<number, Account> {
  const [floors, posteds, helds] = [items(answer.floors), items(answer.posteds), items(answer.helds)]
  const [seqs, lastAts] = [items(answer.seqs), items(answer.last_ats)]
  return new Map(
    items(answer.account_ids).map((text, n) => {
      const id = Number(text)
      const [floor, posted, held] = [BigInt(floors[n] ?? 0), BigInt(posteds[n] ?? 0), BigInt(helds[n] ?? 0)]
      return [id, { id, floor, posted, held, seq: Number(seqs[n]), lastAt: Number(lastAts[n]) }]
    }),
  )
}

function readHolds(answer: Answer, byId: ReadonlyMap<number, Account>): Map<string, OpenHold> {
  const [owners, amounts] = [items(answer.open_accounts), items(answer.open_amounts)]
  const [expiries, keys, tokens] = [items(answer.open_expires), items(answer.open_keys), items(answer.open_tokens)]
  const [days, minutes] = [items(answer.open_days), items(answer.open_minutes)]
  const holds = new Map<string, OpenHold>()
  for (const [n, id] of items(answer.open_ids).entries()) {
    const account = byId.get(Number(owners[n]))
    if (!account) throw new Error(`the account of hold ${id} was not locked`)
    const key = keys[n] ?? '""'
    holds.set(id, {
      id,
      account,
      amount: BigInt(amounts[n] ?? 0),
      expiresAt: Number(expiries[n]),
      key: key === '""' ? null : key,
      tokens: Number(tokens[n]),
      day: Number(days[n]),
      minute: Number(minutes[n]),
    })
  }
  return holds
}

function readBudgets(answer: Answer): Map<string, Budget> {
  const [spents, reserveds, dayUseds] = [items(answer.spents), items(answer.reserveds), items(answer.day_useds)]
  const [days, minutes] = [items(answer.days), items(answer.minutes)]
  const [requests, tokens] = [items(answer.request_counts), items(answer.token_counts)]
  const budgets = new Map<string, Budget>()
  for (const [n, key] of items(answer.budget_keys).entries()) {
    budgets.set(key, {
      spent: BigInt(spents[n] ?? 0),
      reserved: BigInt(reserveds[n] ?? 0),
      day: Number(days[n]),
      dayUsed: BigInt(dayUseds[n] ?? 0),
      minute: Number(minutes[n]),
      requests: Number(requests[n]),
      tokens: Number(tokens[n]),
    })
  }
  return budgets
}
