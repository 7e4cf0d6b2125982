import { shapes, writeShape } from '#protocol'
import type { LedgerOp, Leg, TransferKind, TransferPhase } from './ledger-op.ts'

/** A transfer as it is stored, accounts by their names. Amounts in micro-credits, times in milliseconds since 1970. */
export interface TransferRow {
  readonly id: string
  readonly phase: TransferPhase
  readonly kind: TransferKind
  /** Who pays. */
  readonly from: string
  readonly amount: bigint
  /** Who is paid, in the order the operation named them. */
  readonly to: readonly Leg[]
  /** What it resolves. */
  readonly hold: string | null
  readonly expiresAt: number | null
  readonly key: string | null
  readonly tokens: number
  readonly at: number
  readonly authorisation: Buffer | null
}

const { anyBytes, integer, listOf, mapOf, orNull, textTo, tupleOf } = shapes
/** Every text of a row is short, and its maker's. */
const text = textTo(1_000)

interface Leaf extends Omit<TransferRow, 'amount' | 'at' | 'expiresAt' | 'from' | 'kind' | 'phase' | 'to' | 'tokens'> {
  readonly phase: string
  readonly kind: string
  readonly amount: number | bigint
  readonly tokens: number | bigint
  readonly at: number | bigint
  readonly from: string | null
  readonly to: readonly (readonly [string, number | bigint])[]
  readonly expires: number | bigint | null
}

const leafShape = mapOf<Leaf>({
  id: text,
  phase: text,
  kind: text,
  from: orNull(text),
  amount: integer,
  to: listOf(tupleOf<readonly [string, number | bigint]>(text, integer)),
  hold: orNull(text),
  expires: orNull(integer),
  key: orNull(text),
  tokens: integer,
  at: integer,
  authorisation: orNull(anyBytes),
})

const phases = { post: 'posted', void: 'voided', expire: 'expired' } as const

/** The row an operation becomes. One that resolves a hold does not say who pays: `from` stays empty. */
export function rowOf(op: LedgerOp): TransferRow {
  const { id, at } = op
  const none = { to: [], hold: null, expiresAt: null, key: null, tokens: 0, authorisation: null }
  if (op.op === 'hold') {
    const { account: from, amount, expiresAt, budget } = op
    const counted = { key: budget?.key ?? null, tokens: budget?.tokens ?? 0 }
    return { ...none, id, phase: 'pending', kind: 'charge', from, amount, expiresAt, ...counted, at }
  }
  if (op.op === 'transfer') {
    const { kind, from, to, amount, authorisation } = op
    return { ...none, id, phase: 'direct', kind, from, amount, to: [{ account: to, amount }], at, authorisation }
  }
  const resolves = { ...none, id, phase: phases[op.op], kind: 'charge' as const, from: '', hold: op.hold, at }
  if (op.op !== 'post') return { ...resolves, amount: 0n }
  return { ...resolves, amount: op.amount, to: op.legs, tokens: op.tokens }
}

/**
 * What the transparency log commits to (kind `transfer`, ref = id): every member of the row as dag-cbor. Of a row that
 * resolves a hold the payer is left out: the hold's own leaf names it.
 */
export function leafOfRow(row: TransferRow): Buffer {
  return writeShape(leafShape, {
    id: row.id,
    phase: row.phase,
    kind: row.kind,
    from: row.hold === null ? row.from : null,
    amount: row.amount,
    to: row.to.map(({ account, amount }) => [account, amount] as const),
    hold: row.hold,
    expires: row.expiresAt,
    key: row.key,
    tokens: row.tokens,
    at: row.at,
    authorisation: row.authorisation,
  })
}

/** {@link leafOfRow} of the row an operation becomes: known before it is applied. */
export function transferLeaf(op: LedgerOp): Buffer {
  return leafOfRow(rowOf(op))
}

/** Whether two rows say the same; when they were written does not count. */
export function sameTransfer(one: TransferRow, other: TransferRow): boolean {
  return leafOfRow({ ...one, at: 0 }).equals(leafOfRow({ ...other, at: 0 }))
}
