import { leafHash } from '#crypto'
import type { LoggedLeaf, PoolKeys } from '#log'
import { decodeSigned, epochCommitment, type SignatureChecker } from '#protocol'
import { type Sql, texts } from '#storage'
import { wrongRestitution } from './audit-restitutions.ts'
import { trialRules, wrongLook, wrongRates, wrongSentence } from './audit-trials.ts'
import { verdictLeaf } from './checker.ts'
import { epochLeaf, toldLeaf } from './epochs.ts'

/** Whom verdicts are compared with. */
interface AuditFacts {
  /** The pool's. */
  readonly keys: PoolKeys
  readonly checker: SignatureChecker
}

interface EpochOnRecord {
  readonly epoch: bigint
  readonly commitment: Buffer
  readonly key: Buffer | null
  readonly disclosure: Buffer | null
}

interface VerdictOnRecord {
  readonly id: string
  readonly jobId: string
  readonly wire: Buffer
  readonly state: string
  readonly workerId: string
  readonly verifier: string | null
}

/** Epochs and checks these leaves commit to, each against its row. The first that is wrong, in a sentence. */
export async function auditCheckLeaves(
  sql: Sql,
  leaves: readonly LoggedLeaf[],
  facts: AuditFacts,
): Promise<string | undefined> {
  const checks = leaves.filter(({ kind }) => kind === 'check').map(({ ref }) => ref)
  return (
    (await wrongEpoch(sql, leaves)) ??
    (await wrongVerdict(sql, leaves, facts)) ??
    (checks.length > 0 ? await wrongLook(sql, checks, facts.checker) : undefined)
  )
}

async function wrongEpoch(sql: Sql, leaves: readonly LoggedLeaf[]): Promise<string | undefined> {
  const ours = leaves.filter(({ kind }) => kind === 'epoch')
  if (ours.length === 0) return undefined
  const refs = ours.map(({ ref }) => ref.split(' ')[0] ?? '')
  const rows = await sql<EpochOnRecord[]>`
    select epoch, commitment, key, disclosure from epochs where epoch::text = any (${texts(refs)}::text[])`
  const known = new Map(rows.map((row) => [String(row.epoch), row]))
  for (const [at, { ref, hash, index }] of ours.entries()) {
    const row = known.get(refs[at] ?? '')
    if (!row) return `Leaf ${index} of the log commits to epoch ${ref}, which is gone.`
    const { key, disclosure, commitment } = row
    const epoch = Number(row.epoch)
    const isTold = ref.endsWith(' told')
    const leaf = isTold && key && disclosure ? toldLeaf({ epoch, key, disclosure }) : epochLeaf(epoch, commitment)
    if (!leafHash(leaf.data).equals(hash)) return `Epoch ${ref} is not what the log committed to.`
    if (key && !epochCommitment(key).equals(commitment))
      return `The key of epoch ${ref} is not the one it was committed to.`
  }
  return undefined
}

async function wrongVerdict(
  sql: Sql,
  leaves: readonly LoggedLeaf[],
  { keys, checker }: AuditFacts,
): Promise<string | undefined> {
  const ours = leaves.filter(({ kind }) => kind === 'check')
  if (ours.length === 0) return undefined
  const rows = await sql<VerdictOnRecord[]>`
    select v.check_id as id, v.job_id as "jobId", v.wire, c.state, c.worker_id as "workerId", c.verifier
      from verdicts v join checks c on c.id = v.check_id
     where v.check_id::text = any (${texts(ours.map(({ ref }) => ref))}::text[])`
  const known = new Map(rows.map((row) => [row.id, row]))
  for (const { ref, hash, index } of ours) {
    const row = known.get(ref)
    if (!row) return `Leaf ${index} of the log commits to check ${ref}, which is gone.`
    if (!leafHash(verdictLeaf(ref, row.wire).data).equals(hash))
      return `The verdict of check ${ref} is not what the log committed to.`
    const decoded = decodeSigned(row.wire, 'verdict/1')
    if (!decoded.ok) return `The verdict of check ${ref} cannot be read: ${decoded.problem}.`
    const { message, signature, hash: digest } = decoded.signed
    if (!keys.has(signature.key) || !checker.verify(signature, digest)) {
      return `The verdict of check ${ref} is not signed by the pool.`
    }
    const verifier = message.verifier?.toString('hex') ?? null
    if (
      message.check !== ref ||
      message.job !== row.jobId ||
      message.outcome !== row.state ||
      verifier !== row.verifier
    ) {
      return `The verdict of check ${ref} and its row differ.`
    }
  }
  return undefined
}

/** Each answers what should not exist, as one sentence without its end. */
const rules: readonly string[] = [
  `select 'Epoch ' || e.epoch || ' is not in the log' from epochs e
    where not exists (select from log_leaves l where l.kind = 'epoch' and l.ref = e.epoch::text)`,
  `select 'Epoch ' || e.epoch || ' is told, and that is not in the log' from epochs e
    where e.key is not null and not exists (select from log_leaves l where l.kind = 'epoch' and l.ref = e.epoch || ' told')`,
  `select 'Check ' || c.id || ' ended as ' || c.state || ' without a verdict' from checks c
    where c.state in ('clean', 'hit') and not exists (select from verdicts v where v.check_id = c.id)`,
  `select 'Check ' || c.id || ' was waived without a verdict, although somebody had been promised to look' from checks c
    where c.state = 'waived' and c.ended_at > c.owed_at and not exists (select from verdicts v where v.check_id = c.id)`,
  `select 'Check ' || c.id || ' was found ' || c.state || ' and nobody looked' from checks c
    where c.state in ('clean', 'hit') and not exists (select from looks l where l.check_id = c.id)`,
  `select 'Check ' || c.id || ' is one of job ' || c.job_id || ', which has no receipt' from checks c
    where not exists (select from receipts r where r.job_id = c.job_id)`,
  `select 'Worker ' || s.worker_id || ' is convicted, and no act of the log says so' from standings s
    where s.phase = 'convicted' and not exists (
      select from standing_acts a where a.worker_id = s.worker_id and a.model = s.model and a.act = 'slash')`,
  `select 'Appeal ' || a.id || ' is not the one that the log tells of' from appeals a
    where not exists (select from acts t where t.action = 'worker.appeal' and t.details ->> 'appeal' = a.id::text
                         and t.details ->> 'sha256' = encode(sha256(a.wire), 'hex'))`,
  `select 'Appeal ' || a.id || ' is ' || a.outcome || ', and no act of the log says so' from appeals a
    where a.outcome is not null
      and not exists (select from acts t where t.action = 'worker.appeal_' || a.outcome and t.details ->> 'appeal' = a.id::text)`,
]

/** Rows without a leaf, and what epochs, checks and verdicts must agree on. The first that is wrong, in a sentence. */
export async function auditCheckTables(sql: Sql): Promise<string | undefined> {
  for (const rule of [...rules, ...trialRules]) {
    const [found] = await sql.unsafe<{ problem: string }[]>(`select * from (${rule}) as c (problem) limit 1`)
    if (found) return `${found.problem}.`
  }
  return (await wrongRates(sql)) ?? (await wrongSentence(sql)) ?? (await wrongRestitution(sql))
}
