import { accountKind, kindToMake } from './account-name.ts'
import { isValid } from './decide.ts'
import type { HoldOp, LedgerCode, LedgerOp, PostOp, ReleaseOp } from './ledger-op.ts'

interface ModelHold extends HoldOp {
  readonly day: number
  readonly minute: number
}

interface Usage {
  total: bigint
  day: number
  dayUsed: bigint
  minute: number
  requests: number
  tokens: number
}

/**
 * The ledger in a few maps, one operation at a time: what the tables must agree with (tests), and money for simulators.
 * It shares no arithmetic with the ledger, only the question whether an operation makes sense at all.
 */
export class ReferenceLedger {
  readonly balances = new Map<string, bigint>([
    ['issuance', 0n],
    ['pool', 0n],
    ['treasury', 0n],
    ['refund_reserve', 0n],
  ])
  readonly holds = new Map<string, ModelHold>()
  readonly #done = new Map<string, { readonly body: string; readonly pending: boolean }>()
  readonly #usage = new Map<string, Usage>()
  #bootstrapped = false

  open(...accounts: readonly string[]): void {
    for (const account of accounts) if (!this.balances.has(account)) this.balances.set(account, 0n)
  }

  /** Reserved by open holds. */
  held(account: string): bigint {
    let sum = 0n
    for (const hold of this.holds.values()) if (hold.account === account) sum += hold.amount
    return sum
  }

  /** What a key has spent and reserved. */
  used(key: string): bigint {
    return this.#usage.get(key)?.total ?? 0n
  }

  apply(op: LedgerOp): LedgerCode {
    if (!isValid(op)) return 'invalid'
    if (op.op === 'post') this.open(...op.legs.map((leg) => leg.account).filter((name) => kindToMake(name) !== null))
    if (op.op === 'transfer' && kindToMake(op.to) !== null) this.open(op.to)
    const before = this.#done.get(op.id)
    if (before) return before.body === bodyOf(op) ? 'applied' : 'conflict'
    const code = op.op === 'hold' ? this.#hold(op) : op.op === 'transfer' ? this.#transfer(op) : this.#resolve(op)
    if (code === 'applied') this.#done.set(op.id, { body: bodyOf(op), pending: op.op === 'hold' })
    return code
  }

  #available(account: string): bigint {
    const unbounded = ['issuance', 'peer', 'debt'].includes(accountKind(account) ?? '')
    return unbounded ? 10n ** 18n : (this.balances.get(account) ?? 0n) - this.held(account)
  }

  #hold(op: HoldOp): LedgerCode {
    if (!this.balances.has(op.account)) return 'unknown_account'
    const usage = op.budget && this.#usageAt(op.budget.key, op.at)
    if (op.budget && usage) {
      const { total, perDay, requestsPerMinute, tokensPerMinute, tokens } = op.budget
      if (tokensPerMinute !== null && tokens > tokensPerMinute) return 'rate_tokens'
      if (perDay !== null && op.amount > perDay) return 'budget_day'
      if (requestsPerMinute !== null && usage.requests >= requestsPerMinute) return 'rate_requests'
      if (tokensPerMinute !== null && usage.tokens + tokens > tokensPerMinute) return 'rate_tokens'
      if (perDay !== null && usage.dayUsed + op.amount > perDay) return 'budget_day'
      if (total !== null && usage.total + op.amount > total) return 'budget_total'
    }
    if (this.#available(op.account) < op.amount) return 'insufficient_credit'
    if (op.budget && usage) {
      usage.total += op.amount
      usage.dayUsed += op.amount
      usage.requests += 1
      usage.tokens += op.budget.tokens
      this.#usage.set(op.budget.key, usage)
    }
    this.holds.set(op.id, { ...op, day: usage?.day ?? 0, minute: usage?.minute ?? 0 })
    return 'applied'
  }

  #resolve(op: PostOp | ReleaseOp): LedgerCode {
    const hold = this.holds.get(op.hold)
    if (!hold) return this.#done.get(op.hold)?.pending ? 'hold_resolved' : 'unknown_hold'
    if (op.op === 'expire' && op.at < hold.expiresAt) return 'invalid'
    const amount = op.op === 'post' ? op.amount : 0n
    if (amount > hold.amount) return 'amount_over_hold'
    const legs = op.op === 'post' ? op.legs : []
    if (legs.some((leg) => !this.balances.has(leg.account))) return 'unknown_account'
    for (const leg of legs) this.#move(hold.account, leg.account, leg.amount)
    this.holds.delete(op.hold)
    const usage = hold.budget && this.#usage.get(hold.budget.key)
    if (hold.budget && usage) {
      usage.total -= hold.amount - amount
      if (usage.day === hold.day) usage.dayUsed -= hold.amount - amount
      const spare = hold.budget.tokens - (op.op === 'post' ? op.tokens : 0)
      if (usage.minute === hold.minute && spare > 0) usage.tokens -= spare
    }
    return 'applied'
  }

  #transfer(op: LedgerOp & { op: 'transfer' }): LedgerCode {
    if (!this.balances.has(op.from) || !this.balances.has(op.to)) return 'unknown_account'
    if (op.kind === 'bootstrap' && this.#bootstrapped) return 'conflict'
    if (this.#available(op.from) < op.amount) return 'insufficient_credit'
    if (op.kind === 'bootstrap') this.#bootstrapped = true
    this.#move(op.from, op.to, op.amount)
    return 'applied'
  }

  #move(from: string, to: string, amount: bigint): void {
    this.balances.set(from, (this.balances.get(from) ?? 0n) - amount)
    this.balances.set(to, (this.balances.get(to) ?? 0n) + amount)
  }

  #usageAt(key: string, at: number): Usage {
    const was = this.#usage.get(key) ?? { total: 0n, day: 0, dayUsed: 0n, minute: 0, requests: 0, tokens: 0 }
    const [day, minute] = [Math.floor(at / 86_400_000), Math.floor(at / 60_000)]
    const today = day > was.day ? { day, dayUsed: 0n } : {}
    const now = minute > was.minute ? { minute, requests: 0, tokens: 0 } : {}
    return { ...was, ...today, ...now }
  }
}

/** What makes two operations of one id the same: everything but when, and the limits of the moment. */
function bodyOf(op: LedgerOp): string {
  const budget = op.op === 'hold' && op.budget ? [op.budget.key, op.budget.tokens] : null
  const authorisation = op.op === 'transfer' ? op.authorisation?.toString('hex') : null
  return JSON.stringify({ ...op, at: 0, budget, authorisation, onApplied: 0, onRefused: 0 }, (_, value) =>
    typeof value === 'bigint' ? String(value) : value,
  )
}
