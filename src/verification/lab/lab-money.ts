import assert from 'node:assert'
import { type LedgerOp, ReferenceLedger, splitCharge } from '#ledger'

/** Price of every request, micro-credits. */
const price = 1_000_000n
const user = 'user:00000000-0000-4000-8000-000000000001'
const start = 100_000_000n

/** What a worker earns with one request, micro-credits. */
export const earning = splitCharge({ amount: price, segments: [{ account: `held:${'0'.repeat(64)}`, tokens: 1 }] })
  .filter(({ account }) => account.startsWith('held:'))
  .reduce((sum, { amount }) => sum + amount, 0n)

/**
 * Money of a lab: charges go through the ledger's reference model as a pool books them, into `held:<worker>`; what moves
 * held earnings stands here, with the same two promises: nothing below zero, and all of it sums to zero.
 */
export class LabMoney {
  readonly #ledger = new ReferenceLedger()
  #ids = 1
  /** What users should have got back and nobody had, micro-credits. */
  debt = 0n
  readonly #record: ((op: LedgerOp) => void) | undefined
  #now = 0

  /** `record` hears everything as a pool would submit it to its ledger. */
  constructor(record?: (op: LedgerOp) => void) {
    this.#record = record
    this.#ledger.open(user)
    const authorisation = Buffer.from('lab')
    this.#apply({
      op: 'transfer',
      kind: 'grant',
      from: 'issuance',
      to: user,
      amount: start * price,
      at: 0,
      authorisation,
    })
  }

  /** A copy to go on from. Ids of transfers stay different, so nothing of before needs to be known. */
  fork(): LabMoney {
    const copy = new LabMoney()
    copy.#ids = this.#ids
    copy.debt = this.debt
    for (const [account, balance] of this.#ledger.balances) copy.#ledger.balances.set(account, balance)
    return copy
  }

  /** Books `count` requests of one worker as one charge. */
  charge(worker: string, count: number, at: number): void {
    this.#now = at
    const amount = price * BigInt(count)
    const segments = [{ account: `held:${worker}`, tokens: count }]
    const hold = this.#apply({ op: 'hold', account: user, amount, expiresAt: at + 60_000, at, budget: null })
    this.#apply({ op: 'post', hold, amount, legs: splitCharge({ amount, segments }), tokens: 0, kind: 'charge', at })
    this.#ledger.open(`worker:${worker}`)
  }

  /** The holding time of `count` requests is over. */
  release(worker: string, count: number): void {
    this.#move('release', `held:${worker}`, `worker:${worker}`, earning * BigInt(count))
  }

  /**
   * Slash: users get the full price of every refuted job back, the worker's part of it from what is held of the worker,
   * the rest from those who got it; then the cost of verification; what is left is burnt. The accuser gets nothing.
   */
  slash(worker: string, refuted: number, costOfChecks: bigint): void {
    const held = `held:${worker}`
    const count = BigInt(refuted)
    const legs = splitCharge({ amount: price, segments: [{ account: held, tokens: 1 }] })
    for (const { account, amount } of legs) this.#payBack(account, amount * count)
    this.#move('slash', held, 'pool', least(costOfChecks, this.balance(held)))
    this.#move('slash', held, 'issuance', this.balance(held))
  }

  #payBack(account: string, amount: bigint): void {
    const own = least(amount, this.balance(account))
    const reserve = least(amount - own, this.balance('refund_reserve'))
    this.#move('refund', account, user, own)
    this.#move('refund', 'refund_reserve', user, reserve)
    this.debt += amount - own - reserve
  }

  /** Of every account there is. */
  get balances(): ReadonlyMap<string, bigint> {
    return this.#ledger.balances
  }

  balance(account: string): bigint {
    return this.#ledger.balances.get(account) ?? 0n
  }

  /** What a worker has and may still get, in earnings of one request. */
  ownedBy(worker: string): number {
    return Number(this.balance(`worker:${worker}`) + this.balance(`held:${worker}`)) / Number(earning)
  }

  /** No credit came from nowhere and none went there. */
  assertConserved(): void {
    let sum = 0n
    for (const balance of this.#ledger.balances.values()) sum += balance
    assert(sum === 0n && this.#ledger.holds.size === 0, `the lab made or lost ${sum} micro-credits`)
  }

  #move(kind: 'release' | 'slash' | 'refund', from: string, to: string, amount: bigint): void {
    assert(amount >= 0n && this.balance(from) >= amount, `${from} cannot pay ${amount}`)
    if (this.#record && amount > 0n) {
      const authorisation = Buffer.from(kind)
      this.#record({ op: 'transfer', id: this.#nextId(), kind, from, to, amount, at: this.#now, authorisation })
    }
    this.#ledger.balances.set(from, this.balance(from) - amount)
    this.#ledger.balances.set(to, this.balance(to) + amount)
  }

  #apply(op: Unnamed<LedgerOp>): string {
    const id = this.#nextId()
    const named = { ...op, id } as LedgerOp
    const code = this.#ledger.apply(named)
    assert(code === 'applied', `the ledger says ${code} to ${op.op}`)
    this.#record?.(named)
    return id
  }

  #nextId(): string {
    return `00000000-0000-4000-8000-${(++this.#ids).toString(16).padStart(12, '0')}`
  }
}

type Unnamed<T> = T extends unknown ? Omit<T, 'id'> : never
const least = (a: bigint, b: bigint) => (a < b ? a : b)
