export type AccountKind =
  | 'user'
  | 'worker'
  | 'pool'
  | 'treasury'
  | 'issuance'
  | 'refund_reserve'
  | 'held'
  | 'stake'
  | 'peer'
  | 'debt'

/** What each kind's name looks like. One per pool, or one per id. */
const names: Readonly<Record<AccountKind, RegExp>> = {
  user: /^user:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
  worker: /^worker:[0-9a-f]{64}$/,
  pool: /^pool$/,
  treasury: /^treasury$/,
  issuance: /^issuance$/,
  refund_reserve: /^refund_reserve$/,
  held: /^held:[0-9a-f]{64}$/,
  stake: /^stake:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
  peer: /^peer:[0-9a-f]{64}$/,
  debt: /^debt$/,
}

/** The kind of account a name stands for; undefined: no account may have this name. */
export function accountKind(name: string): AccountKind | undefined {
  const kind = name.split(':', 1)[0] as AccountKind
  return Object.hasOwn(names, kind) && names[kind].test(name) ? kind : undefined
}

/** Kinds whose accounts are made when a charge first pays them. Users come from identity, issuance never is paid. */
const madeOnFirstPay: ReadonlySet<AccountKind> = new Set(['worker', 'held', 'stake', 'peer'])

/** The kind to make when a charge names an account that is not there. */
export function kindToMake(name: string): AccountKind | null {
  const kind = accountKind(name)
  return kind && madeOnFirstPay.has(kind) ? kind : null
}
