import { auditIdentity } from '#identity'
import { auditJobLeaves, auditJobTables } from '#jobs'
import {
  auditAccountKeys,
  auditAuthorisations,
  auditLedger,
  auditLedgerSince,
  auditPrices,
  auditTransferLeaves,
} from '#ledger'
import {
  auditSnapshot,
  headOf,
  type LogPosition,
  newestLoggedAct,
  outsideCheckpoint,
  type PoolKeys,
  readLeaves,
  readPoolKeys,
  readRootAt,
} from '#log'
import { PoolError, SignatureChecker } from '#protocol'
import type { Database, Tx } from '#storage'
import { auditCheckLeaves, auditCheckTables } from '#verification'

/** What is to be audited. */
export interface AuditWish {
  /** Raw public key of the pool. */
  readonly poolKey: Buffer
  /** Leaves an earlier audit has found right; undefined or not of this log: everything. */
  readonly since?: LogPosition | undefined
  /** Ends it; the audit then rejects. */
  readonly signal?: AbortSignal
  /** Told how far it is. */
  readonly onProgress?: (step: string, done: number, of: number) => void
}

/** What was looked at. */
export interface AuditCounts {
  readonly from: number
  readonly leaves: number
  readonly checkpoints: number
  readonly acts: number
  readonly orders: number
  readonly receipts: number
  readonly transfers: number
  readonly epochs: number
  readonly checks: number
  readonly accounts: number
}

export type AuditResult =
  /** `position`: where the next audit may begin. `outside`: leaves of the checkpoint outside the database, when there is one. */
  | { readonly ok: true; readonly counts: AuditCounts; readonly position: LogPosition; readonly outside: number | null }
  /** The first thing that is wrong, in one sentence. */
  | { readonly ok: false; readonly problem: string }

/**
 * Audits one state of a pool's database and the copy of its last checkpoint in the data directory. The pool may run
 * meanwhile. @throws PoolError log_mismatch when the copy is none, database_unavailable.
 */
export async function auditPool(database: Database, dataDir: string, wish: AuditWish): Promise<AuditResult> {
  // before the state is taken: a copy read later could be ahead of it
  const copy = await outsideCheckpoint(dataDir, wish.poolKey)
  const connection = await database.connect()
  const cut = () => connection.destroy()
  wish.signal?.addEventListener('abort', cut, { once: true })
  try {
    wish.signal?.throwIfAborted()
    return await connection.transaction(async (tx) => {
      await tx.unsafe(`set transaction isolation level repeatable read, read only; set local statement_timeout = 0;
                       set local idle_in_transaction_session_timeout = 0`)
      return auditState(tx, wish, copy)
    })
  } finally {
    wish.signal?.removeEventListener('abort', cut)
    await connection.close()
  }
}

type Outside = Awaited<ReturnType<typeof outsideCheckpoint>>

/** The same inside a transaction of the caller's. */
export async function auditState(tx: Tx, wish: AuditWish, copy: Outside): Promise<AuditResult> {
  const { size = 0, checkpoints = 0 } = (await headOf(tx)) ?? {}
  const keys = await keysOf(tx, wish)
  if (typeof keys === 'string') return wrong(keys)
  const from = await beginningOf(tx, wish.since)
  const counts = { acts: 0, order: 0, receipt: 0, transfer: 0, epoch: 0, check: 0 }
  const problem =
    (await firstOfLog(tx, wish, keys, copy, from)) ??
    (await firstOfLeaves(tx, wish, keys, from, size, counts)) ??
    (await firstOfTables(tx, wish, keys, from))
  if (problem !== undefined) return wrong(problem)
  const [accounts] = await tx<{ n: bigint }[]>`select count(*) as n from accounts`
  const root = await readRootAt(tx, size)
  if (!root) throw new Error('an audited log has no root')
  const position = { size, root }
  const { acts, order: orders, receipt: receipts, transfer: transfers, epoch: epochs, check: checks } = counts
  const of = { from, leaves: size - from, checkpoints, acts, orders, receipts, transfers, epochs, checks }
  return { ok: true, counts: { ...of, accounts: Number(accounts?.n ?? 0) }, position, outside: copy?.size ?? null }
}

/** The keys the pool has had, or what is wrong with them. */
function keysOf(tx: Tx, { poolKey }: AuditWish): Promise<PoolKeys | string> {
  return readPoolKeys(tx, poolKey).catch((error: unknown) => {
    if (error instanceof PoolError && error.code === 'log_mismatch') return error.message
    throw error
  })
}

async function beginningOf(tx: Tx, since: LogPosition | undefined): Promise<number> {
  const root = since && (await readRootAt(tx, since.size))
  return since && root?.equals(since.root) ? since.size : 0
}

const wrong = (problem: string) => ({ ok: false, problem }) as const

async function firstOfLog(tx: Tx, { onProgress }: AuditWish, keys: PoolKeys, copy: Outside, from: number) {
  onProgress?.('log', 0, 0)
  const now = await newestLoggedAct(tx)
  for await (const { sentence } of auditSnapshot({ sql: tx, keys, copy }, from, now)) return sentence
  return undefined
}

/** What leaves commit to, page by page. */
async function firstOfLeaves(
  tx: Tx,
  { onProgress }: AuditWish,
  keys: PoolKeys,
  from: number,
  size: number,
  counts: Record<'acts' | 'order' | 'receipt' | 'transfer' | 'epoch' | 'check', number>,
): Promise<string | undefined> {
  const facts = { keys, checker: new SignatureChecker() }
  for await (const page of readLeaves(tx, from)) {
    const problem =
      (await auditTransferLeaves(tx, page)) ??
      (await auditJobLeaves(tx, page, facts)) ??
      (await auditCheckLeaves(tx, page, facts))
    if (problem !== undefined) return problem
    for (const { kind } of page) {
      if (kind === 'act') counts.acts++
      else counts[kind]++
    }
    onProgress?.('leaves', (page.at(-1)?.index ?? 0) + 1 - from, size - from)
  }
  return undefined
}

/** What tables say of themselves and each other. */
async function firstOfTables(
  tx: Tx,
  { onProgress }: AuditWish,
  keys: PoolKeys,
  from: number,
): Promise<string | undefined> {
  onProgress?.('tables', 0, 0)
  const { problem, ...others } = await auditIdentity(tx)
  const facts = { keys, ...others }
  return (
    problem ??
    (await ledgerProblem(tx, from)) ??
    (await auditPrices(tx)) ??
    (await auditAuthorisations(tx, facts)) ??
    (await auditAccountKeys(tx, facts)) ??
    (await auditJobTables(tx)) ??
    (await auditCheckTables(tx))
  )
}

async function ledgerProblem(tx: Tx, from: number): Promise<string | undefined> {
  if (from > 0) return auditLedgerSince(tx, from)
  const audit = await auditLedger(tx)
  return audit.ok ? undefined : audit.problem
}
