import type { TransferKind, TransferPhase } from './ledger-op.ts'

export interface TransferKindRule {
  /** Kinds of account that pay, and that are paid. */
  readonly from: readonly string[]
  readonly to: readonly string[]
  readonly phases: readonly TransferPhase[]
  /** Whose signature authorises it. */
  readonly signer: string
  /** Over which message. */
  readonly message: 'order/1' | 'grant/1' | 'transfer/1' | 'move/1'
  /** Where the signed bytes are kept. */
  readonly kept: string
}

/** For every kind of transfer: whose signature authorises it. docs/reference/transfers.md says the same. */
export const transferKinds: Readonly<Record<TransferKind, TransferKindRule>> = {
  charge: {
    from: ['user', 'peer'],
    to: ['worker', 'pool', 'treasury', 'refund_reserve', 'held', 'peer'],
    phases: ['pending', 'posted', 'voided', 'expired'],
    signer: 'payer key, or the pool key as custodian',
    message: 'order/1',
    kept: '`orders`, by the job',
  },
  grant: {
    from: ['issuance'],
    to: ['user'],
    phases: ['direct'],
    signer: 'admin key',
    message: 'grant/1',
    kept: '`transfers.authorisation`',
  },
  bootstrap: {
    from: ['issuance'],
    to: ['user'],
    phases: ['direct'],
    signer: 'pool key, once and before the first admin key',
    message: 'grant/1',
    kept: '`transfers.authorisation`',
  },
  payment: {
    from: ['user'],
    to: ['user', 'stake'],
    phases: ['direct'],
    signer: 'payer key',
    message: 'transfer/1',
    kept: '`transfers.authorisation`',
  },
  release: {
    from: ['held'],
    to: ['worker'],
    phases: ['direct'],
    signer: 'pool key, by the rule of holding',
    message: 'move/1',
    kept: '`transfers.authorisation`',
  },
  slash: {
    from: ['held', 'stake', 'refund_reserve'],
    to: ['refund_reserve', 'pool', 'issuance'],
    phases: ['direct'],
    signer: 'pool key, after a conviction that it names',
    message: 'move/1',
    kept: '`transfers.authorisation`',
  },
  refund: {
    from: ['held', 'stake', 'pool', 'treasury', 'refund_reserve', 'debt'],
    to: ['user'],
    phases: ['direct'],
    signer: 'pool key, after a conviction that it names',
    message: 'move/1',
    kept: '`transfers.authorisation`',
  },
  restitution: {
    from: ['refund_reserve', 'debt'],
    to: ['worker', 'stake'],
    phases: ['direct'],
    signer: 'pool key, after a granted appeal that it names',
    message: 'move/1',
    kept: '`transfers.authorisation`',
  },
}
