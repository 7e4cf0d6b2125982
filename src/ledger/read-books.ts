import { SlotMap } from '#runtime'
import { type Tx, texts, uuids } from '#storage'
import { kindToMake } from './account-name.ts'
import type { Account, Books, Budget, KeptBooks, OpenHold } from './books.ts'
import type { LedgerOp } from './ledger-op.ts'
import { readTransfers } from './read-transfers.ts'

/** The answer of `ledger_read` (migration 0035): columns as PostgreSQL array literals; null: no row. */
interface Answer {
  readonly batch: string
  readonly account_ids: string | null
  readonly account_names: string | null
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

/** What there is to ask for. */
interface Named {
  /** Account names, and what to make when there is none. */
  readonly accounts: ReadonlyMap<string, string | null>
  readonly ids: readonly string[]
  readonly holds: ReadonlySet<string>
  readonly keys: ReadonlySet<string>
}

/** Everything operations name that is not remembered. Of ids nothing ever is: a transfer may have been written by anybody. */
function namedBy(ops: readonly LedgerOp[], kept?: KeptBooks): Named {
  const accounts = new Map<string, string | null>()
  const ids = new Set<string>()
  const holds = new Set<string>()
  const keys = new Set<string>()
  const name = (account: string, make: string | null = null) => {
    if (kept?.accounts.has(account)) return
    if (make !== null || !accounts.has(account)) accounts.set(account, make)
  }
  for (const op of ops) {
    ids.add(op.id)
    if (op.op === 'hold') {
      name(op.account)
      if (op.budget && !kept?.budgets.has(op.budget.key)) keys.add(op.budget.key)
    } else if (op.op === 'transfer') {
      name(op.from)
      name(op.to, kindToMake(op.to))
    } else {
      if (!kept?.holds.has(op.hold)) holds.add(op.hold)
      if (op.op === 'post') for (const leg of op.legs) name(leg.account, kindToMake(leg.account))
    }
  }
  return { accounts, ids: [...ids], holds, keys }
}

const nothingKept = (batch: string): KeptBooks => ({
  batch,
  accounts: new Map(),
  holds: new SlotMap(),
  budgets: new Map(),
  keys: new Set(),
})

/**
 * Locks the ledger and reads what the operations can touch and `kept` lacks. One round trip; another one when somebody else has written
 * since `kept`, which is then forgotten, or when some id was used before.
 */
export async function readBooks(tx: Tx, ops: readonly LedgerOp[], kept?: KeptBooks): Promise<Books> {
  const answer = await ask(tx, namedBy(ops, kept))
  const base = answer.batch === kept?.batch ? kept : nothingKept(answer.batch)
  const full = kept && base !== kept ? await ask(tx, namedBy(ops, base)) : answer
  addTo(base, full)
  return {
    ...base,
    batch: full.batch,
    known: full.known_ids ? await readTransfers(tx, full.known_ids) : new Map(),
    bootstrapped: full.bootstrapped,
    transfers: [],
    entries: [],
    closed: new Set(),
    opened: new Map(),
    changedBudgets: new Set(),
    changedAccounts: new Set(),
  }
}

async function ask(tx: Tx, { accounts, ids, holds, keys }: Named): Promise<Answer> {
  const [answer] = await tx<Answer[]>`
    select * from ledger_read(
      ${texts([...accounts.keys()])}::text[], ${texts([...accounts.values()])}::text[], ${uuids(ids)}::uuid[],
      ${uuids([...holds])}::uuid[], ${texts([...keys])}::text[])`
  if (!answer) throw new Error('ledger_read answered nothing')
  return answer
}

/** What is remembered already stays the object it is: holds point at their accounts. */
function addTo(kept: KeptBooks, answer: Answer): void {
  const byId = new Map<number, Account>()
  for (const [name, account] of readAccounts(answer)) {
    const known = kept.accounts.get(name)
    byId.set(account.id, known ?? account)
    if (!known) kept.accounts.set(name, account)
  }
  for (const [id, hold] of readHolds(answer, byId)) kept.holds.set(id, hold)
  for (const [key, budget] of readBudgets(answer)) {
    if (!kept.budgets.has(key)) kept.budgets.set(key, budget)
    kept.keys.add(key)
  }
}

function readAccounts(answer: Answer): [string, Account][] {
  const [floors, posteds, helds] = [items(answer.floors), items(answer.posteds), items(answer.helds)]
  const [seqs, lastAts, names] = [items(answer.seqs), items(answer.last_ats), items(answer.account_names)]
  return items(answer.account_ids).map((text, n) => {
    const id = Number(text)
    const [floor, posted, held] = [BigInt(floors[n] ?? 0), BigInt(posteds[n] ?? 0), BigInt(helds[n] ?? 0)]
    return [names[n] ?? '', { id, floor, posted, held, seq: Number(seqs[n]), lastAt: Number(lastAts[n]) }]
  })
}

function readHolds(answer: Answer, byId: ReadonlyMap<number, Account>): Map<string, OpenHold> {
  const [owners, amounts] = [items(answer.open_accounts), items(answer.open_amounts)]
  const [expiries, keys, tokens] = [items(answer.open_expires), items(answer.open_keys), items(answer.open_tokens)]
  const [days, minutes] = [items(answer.open_days), items(answer.open_minutes)]
  const holds = new Map<string, OpenHold>()
  for (const [n, id] of items(answer.open_ids).entries()) {
    const account = byId.get(Number(owners[n]))
    if (!account) throw new Error(`the account of hold ${id} was not read`)
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
