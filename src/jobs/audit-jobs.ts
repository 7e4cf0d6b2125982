import type { TransferRow } from '#ledger'
import type { PoolKeys } from '#log'
import { checkStatements, decodeSigned, decodeStrict, type PoolStatement, type SignatureChecker } from '#protocol'
import { judgeMutualLooks, type MutualLookOnRecord } from '#verification'
import { judgeJobRow, type SettledRow, type SettledSegment } from './judge-job-row.ts'
import type { OrderRow, ReceiptRow } from './order-stages.ts'

/** Whom rows are compared with. */
export interface AuditFacts {
  /** The pool's. */
  readonly keys: PoolKeys
  readonly checker: SignatureChecker
}

/**
 * What is wrong with an order as it is stored, as the end of a sentence that begins with "The order of job …"; undefined when nothing is.
 * `hold` is the transfer that reserved what it may cost. That the log commits to `row.hash`, the caller has checked.
 */
export function judgeOrder(row: OrderRow, hold: TransferRow | undefined, facts: AuditFacts): string | undefined {
  const { keys, checker } = facts
  const decoded = decodeSigned(row.wire, 'order/1')
  if (!decoded.ok) return `cannot be read: ${decoded.problem}`
  const { message: order, hash, signature } = decoded.signed
  if (!hash.equals(row.hash)) return 'is not the one its hash stands for'
  if (!order.payer.equals(row.payer) || order.seq !== row.seq) return 'names another payer or number than its row'
  const poolKey = keys.ofPool(order.pool)
  if (!poolKey) return 'names another pool'
  if (order.custody === 'pool' && !order.payer.equals(poolKey))
    return 'is custodial, and another key than the pool signed it'
  if (order.job !== null && order.job !== row.jobId) return 'is for another job'
  if (!signature.key.equals(order.payer) || !checker.verify(signature, hash)) return 'is not signed by its payer'
  if (hold?.phase !== 'pending') return 'has no hold'
  if (hold.from !== order.account) return `is paid by ${order.account}, and the hold is on ${hold.from}`
  if (hold.amount > order.cap) return `allows ${order.cap} micro-credits, and ${hold.amount} were held`
  return undefined
}

/** What stands around a receipt: its order's row, the hold and the transfer that resolved it, the job and its attempts. */
export interface ReceiptSurroundings {
  readonly order: OrderRow | undefined
  readonly hold: TransferRow | undefined
  readonly resolution: TransferRow | undefined
  readonly job: SettledRow | undefined
  readonly segments: readonly SettledSegment[]
  /** What workers found of each other's answers. */
  readonly looks: readonly MutualLookOnRecord[]
}

/** The same for a receipt: "The receipt of job …". */
export function judgeReceipt(row: ReceiptRow, around: ReceiptSurroundings, facts: AuditFacts): string | undefined {
  const { order, hold, resolution, job, segments, looks } = around
  if (!order) return 'has no order'
  const wires = decodeStrict(row.workers)
  if (!wires.ok || !Array.isArray(wires.value)) return "holds no list of workers' statements"
  const workers = wires.value.map((wire) => Buffer.from(wire as Uint8Array))
  const { keys, checker } = facts
  const ordered = decodeSigned(order.wire, 'order/1')
  const poolKey = (ordered.ok && keys.ofPool(ordered.signed.message.pool)) || keys.current
  const checked = checkStatements({ order: order.wire, workers, statement: row.statement, poolKey }, checker)
  if (!checked.ok) return `does not hold. ${checked.sentence.replace(/\.$/, '')}`
  const { statement } = checked.messages
  if (statement.job !== row.jobId) return 'is about another job'
  const signed = checked.messages.workers.map(({ message }) => message)
  const otherwise = judgeJobRow(job, segments, { statement, workers: signed, hold })
  if (otherwise !== undefined) return otherwise
  const unlike = judgeMutualLooks(looks, statement, checker)
  if (unlike !== undefined) return unlike
  const { usage, prices, price } = statement
  if (price !== BigInt(usage.prompt) * prices.prompt + BigInt(usage.completion) * prices.completion) {
    return `bills ${price} micro-credits, which is not its tokens at its prices`
  }
  return resolution ? judgePayment(statement, resolution) : 'has no transfer that resolves its hold'
}

/** Whether the transfer moved exactly what the statement says, to those who signed. */
function judgePayment(statement: PoolStatement, transfer: TransferRow): string | undefined {
  const { price, usage, segments } = statement
  if (statement.transfer === null) {
    return transfer.amount === 0n ? undefined : `bills nothing, and transfer ${transfer.id} moved ${transfer.amount}`
  }
  if (transfer.id !== statement.transfer)
    return `names transfer ${statement.transfer}; ${transfer.id} resolved the hold`
  if (transfer.phase !== 'posted' || transfer.amount !== price) {
    return `bills ${price} micro-credits, and transfer ${transfer.id} is ${transfer.phase} over ${transfer.amount}`
  }
  if (transfer.tokens !== usage.prompt + usage.completion) return `counts other tokens than transfer ${transfer.id}`
  const signed = new Set(segments.filter((one) => one.signed).map(({ worker }) => worker.toString('hex')))
  const stranger = transfer.to.find(({ account }) => isUnearned(account, signed))
  return stranger && `has no signed segment for ${stranger.account}, whom transfer ${transfer.id} paid`
}

/** A worker's share goes to those who signed; to the reserve when nobody did. */
function isUnearned(account: string, signed: ReadonlySet<string>): boolean {
  const [kind = '', id = ''] = account.split(':')
  if (kind === 'worker' || kind === 'held') return !signed.has(id)
  return kind === 'refund_reserve' && signed.size > 0
}
