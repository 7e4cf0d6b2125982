/** What is logged: acts of administration, orders, receipts, transfers, epochs of checks, checks. */
export type LeafKind = 'act' | 'order' | 'receipt' | 'transfer' | 'epoch' | 'check'

/** One thing to be logged. */
export interface Leaf {
  readonly kind: LeafKind
  /** Unique within the kind: a job, a transfer, the number of an act. At most 200 characters. */
  readonly ref: string
  /** What the leaf commits to; the tree holds leafHash(data). A salted commitment, never content. */
  readonly data: Buffer
}
