import { sha256 } from '#crypto'
import type { Identity, PoolIdentity } from '#identity'
import { type Ledger, type LedgerOp, ledgerCodeName, ledgerStage, transferLeaf } from '#ledger'
import type { TransparencyLog } from '#log'
import { encodeMessage, encodeSigned, type Grant, signBatch } from '#protocol'
import type { Runtime } from '#runtime'
import { type GroupCommit, part } from '#storage'

/** What a fresh pool gives its owner, so that the first key can be used: one million credits, in micro-credits. */
const bootstrapAmount = 1_000_000_000_000n

interface Needs {
  readonly ledger: Ledger
  readonly commit: GroupCommit
  readonly transparency: TransparencyLog
  readonly identity: Pick<Identity, 'listUsers'>
  readonly pool: PoolIdentity
  readonly runtime: Runtime
}

/** The pool's own accounts and, once in its life, the bootstrap grant to its first owner, signed by the pool's key. */
export async function openBooks({ ledger, commit, transparency, identity, pool, runtime }: Needs): Promise<void> {
  const key = pool.identity.publicKey
  await ledger.ensureAccounts(
    ['issuance', 'treasury', 'pool', 'refund_reserve'].map((name) => ({ name, key: transparency.keys.first })),
  )
  const granted = await ledger.history('issuance', { limit: 1 })
  if (granted.length > 0) return
  const owner = (await identity.listUsers()).find((user) => user.role === 'owner' && user.disabledAt === null)
  if (!owner) throw new Error('a pool has no owner')
  await ledger.ensureAccounts([{ name: owner.account }])
  const grant: Grant = {
    pool: sha256(key),
    to: owner.account,
    amount: bootstrapAmount,
    id: runtime.uuid(),
    memo: 'bootstrap',
    at: runtime.now(),
  }
  const bytes = encodeMessage('grant/1', grant)
  const [signature] = signBatch(pool.identity, [{ type: 'grant/1', bytes }])
  if (!signature) throw new Error('a batch of one has one signature')
  const op: LedgerOp = {
    op: 'transfer',
    id: grant.id,
    kind: 'bootstrap',
    from: 'issuance',
    to: owner.account,
    amount: grant.amount,
    at: grant.at,
    authorisation: encodeSigned({ bytes, signature }),
  }
  const outcome = await commit.submit([
    part(ledgerStage, op),
    part(transparency.stage, { kind: 'transfer', ref: op.id, data: transferLeaf(op) }),
  ])
  // Another process of this pool was quicker.
  if (!outcome.applied && ledgerCodeName(outcome.code) !== 'conflict') {
    throw new Error(`the bootstrap grant was refused: ${outcome.stage} ${outcome.code}`)
  }
}
