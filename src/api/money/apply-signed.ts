import { ledgerCodeName, ledgerRefusal, type TransferOp, type TransferRow } from '#ledger'
import { formatCredits, PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import type { AdminDeps } from '../admin/admin-deps.ts'
import type { MoneyDeps } from './money-deps.ts'

/** The rooms that moving money takes. */
export interface Till {
  readonly money: MoneyDeps
  readonly identity: Pick<AdminDeps['identity'], 'hasOperator' | 'isAdminKey' | 'showUser'>
  readonly runtime: Pick<Runtime, 'now'>
}

/** A transfer before it has its time. */
export type WantedTransfer = Omit<TransferOp, 'op' | 'at'> & { readonly authorisation: Buffer }

/**
 * The transfer that these very bytes brought about before; undefined when its id is free.
 * @throws PoolError ledger_conflict: the id is another transfer's.
 */
export async function appliedBefore(money: MoneyDeps, wanted: Pick<WantedTransfer, 'id' | 'authorisation'>) {
  const known = await money.ledger.transfer(wanted.id)
  if (!known || known.authorisation?.equals(wanted.authorisation)) return known
  throw PoolError.from(ledgerRefusal(1, undefined, 0))
}

/**
 * Moves the money and gives the transfer as it stands in the ledger. Whoever calls has verified the signature.
 * @throws PoolError ledger_conflict, insufficient_credit, not_found.
 */
export async function applyTransfer({ money, runtime }: Till, wanted: WantedTransfer): Promise<TransferRow> {
  const now = runtime.now()
  const outcome = await money.apply({ op: 'transfer', ...wanted, at: now })
  // Refused by the log: the same bytes were applied between the look at the id and this, with another time.
  const applied = await appliedBefore(money, wanted)
  if (applied) return applied
  if (outcome.applied) throw new Error(`transfer ${wanted.id} was applied and is not there`)
  if (ledgerCodeName(outcome.code) === 'insufficient_credit') {
    const { available } = await money.ledger.balance(wanted.from)
    const message = `The account has ${formatCredits(available)} credits that nothing reserves, and the transfer moves ${formatCredits(wanted.amount)}.`
    throw new PoolError('insufficient_credit', message, 'Move less, or wait until running requests have ended.')
  }
  throw PoolError.from(ledgerRefusal(outcome.code, undefined, now))
}

const userAccount = /^user:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/

/**
 * The account of a user who is paid, made when it is missing; it learns the payer key its user has.
 * @throws PoolError not_found.
 */
export async function openUserAccount({ money: { ledger }, identity }: Till, name: string): Promise<void> {
  const [, id] = userAccount.exec(name) ?? []
  if (id === undefined) {
    throw new PoolError(
      'not_found',
      `${name} is no account of a user.`,
      'It is written user:<id>; see `lichen users ls`.',
    )
  }
  const { payerKey: key } = await identity.showUser(id)
  await ledger.ensureAccounts([{ name }])
  // An account keeps the first key it learns; its user may have another by now.
  if (key && (await ledger.balance(name)).key === null) await ledger.ensureAccounts([{ name, key }])
}

const stakeAccount = /^stake:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/

/** What an operator puts up for its workers, made when it is missing. @throws PoolError not_found. */
export async function openStake({ money: { ledger }, identity }: Till, name: string): Promise<void> {
  const [, id] = stakeAccount.exec(name) ?? []
  if (id === undefined || !(await identity.hasOperator(id))) {
    const fix = 'It is written stake:<id of the operator>; see `lichen operators ls`.'
    throw new PoolError('not_found', `${name} is the stake of no operator.`, fix)
  }
  await ledger.ensureAccounts([{ name }])
}
