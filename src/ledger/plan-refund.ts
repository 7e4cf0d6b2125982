import type { Leg } from './ledger-op.ts'

/** A charge that is paid back, and what there is to pay it from. */
export interface RefundCase {
  /** Who was paid, as the charge says. */
  readonly legs: readonly Leg[]
  /** Account that holds the convicted worker's earnings. */
  readonly held: string
  /** What its operator has put up, if anything. */
  readonly stake: string | undefined
  /** What each account has to give. */
  readonly available: ReadonlyMap<string, bigint>
}

/** A part of the refund: from whom, how much. */
export interface RefundPart {
  readonly from: string
  readonly amount: bigint
}

/**
 * Where the full price of a falsely answered job comes from (contracts: money for slashes). The convicted worker's leg: its held
 * earnings, then the stake; legs of the pool and the treasury: those themselves; legs of other, honest workers stay with them. What is
 * short comes from the refund reserve, and what is still short is recorded as the pool's debt. The parts sum to the price exactly.
 */
export function planRefund({ legs, held, stake, available }: RefundCase): RefundPart[] {
  const left = new Map(available)
  const parts = new Map<string, bigint>()
  const worker = held.replace(/^held:/, 'worker:')
  const sourcesOf = (account: string): string[] => {
    if (account === held || account === worker) return stake === undefined ? [held] : [held, stake]
    return account === 'pool' || account === 'treasury' ? [account] : []
  }
  for (const { account, amount } of legs) {
    let short = amount
    const give = (from: string, most: bigint) => {
      const part = most < short ? most : short
      if (part <= 0n) return
      short -= part
      left.set(from, (left.get(from) ?? 0n) - part)
      parts.set(from, (parts.get(from) ?? 0n) + part)
    }
    for (const from of [...sourcesOf(account), 'refund_reserve']) give(from, left.get(from) ?? 0n)
    give('debt', short)
  }
  return [...parts].map(([from, amount]) => ({ from, amount }))
}
