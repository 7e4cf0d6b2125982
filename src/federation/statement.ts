import { z } from 'zod'
import { canonicalize, type Identity, type PublicKeyHandle, sha256, verifySignature } from '#crypto'
import type { PoolId } from '#protocol'
import { statementBytes } from './envelope.ts'
import { federationLimits } from './limits.ts'

export const statementPath = '/v1/federation/statement'

/** One job that one pool computed for the other: its id at the origin, and micro-credits owed for it. */
export interface StatementRow {
  readonly id: string
  readonly amount: bigint
}

/** What one pool has in its books about work with another, by when it was asked for. */
export interface PeerStatement {
  readonly giver: PoolId
  readonly receiver: PoolId
  /** Unix seconds; jobs asked for from `since` and before `until`. */
  readonly since: number
  readonly until: number
  /** Computed by the giver for the receiver, and by the receiver for the giver. */
  readonly lent: readonly StatementRow[]
  readonly borrowed: readonly StatementRow[]
}

export interface SignedStatement extends PeerStatement {
  readonly signature: Buffer
}

const rowsJson = (rows: readonly StatementRow[]) => rows.map(({ id, amount }) => [id, amount.toString()])

function bytesOf({ giver, receiver, since, until, lent, borrowed }: PeerStatement): Buffer {
  const rows = sha256(canonicalize({ lent: rowsJson(lent), borrowed: rowsJson(borrowed) }))
  return statementBytes({ giver, receiver, since, until, rows })
}

export function signStatement(identity: Pick<Identity, 'sign'>, statement: PeerStatement): SignedStatement {
  return { ...statement, signature: identity.sign(bytesOf(statement)) }
}

export function statementHolds(key: PublicKeyHandle | Buffer, { signature, ...statement }: SignedStatement): boolean {
  return signature.length === 64 && verifySignature(key, bytesOf(statement), signature)
}

export const statementAskSchema = z.strictObject({
  since: z.int().min(0).max(99_999_999_999),
  until: z.int().min(0).max(99_999_999_999),
})

const rows = z
  .array(z.tuple([z.string().max(200), z.string().regex(/^\d{1,18}$/, 'a whole number in decimal')]))
  .max(federationLimits.statementJobsMax)
  .transform((list) => list.map(([id, amount]): StatementRow => ({ id, amount: BigInt(amount) })))
const wireSchema = z.strictObject({
  since: z.int(),
  until: z.int(),
  lent: rows,
  borrowed: rows,
  signature: z.base64().length(88),
})

export const statementToWire = ({ since, until, lent, borrowed, signature }: SignedStatement) => ({
  since,
  until,
  lent: rowsJson(lent),
  borrowed: rowsJson(borrowed),
  signature: signature.toString('base64'),
})

/** What a peer gave; undefined when it is no statement. */
export function statementFromWire(body: unknown, giver: PoolId, receiver: PoolId): SignedStatement | undefined {
  const read = wireSchema.safeParse(body)
  if (!read.success) return undefined
  return { giver, receiver, ...read.data, signature: Buffer.from(read.data.signature, 'base64') }
}

/** A job that the two pools have not the same about; null: the one does not know it. */
export interface Difference {
  readonly id: string
  readonly by: 'us' | 'them'
  readonly ours: bigint | null
  readonly theirs: bigint | null
}

export interface Comparison {
  /** Micro-credits both agree on: for our work, and for theirs. */
  readonly owedToUs: bigint
  readonly owedToThem: bigint
  readonly jobs: number
  readonly differences: readonly Difference[]
}

/** Compares row by row; nothing is rounded and nothing is netted. */
export function compareStatements(ours: PeerStatement, theirs: PeerStatement): Comparison {
  const us = compareRows('us', ours.lent, theirs.borrowed)
  const them = compareRows('them', ours.borrowed, theirs.lent)
  return {
    owedToUs: us.agreed,
    owedToThem: them.agreed,
    jobs: us.jobs + them.jobs,
    differences: [...us.differences, ...them.differences],
  }
}

function compareRows(by: 'us' | 'them', ours: readonly StatementRow[], theirs: readonly StatementRow[]) {
  const there = new Map(theirs.map(({ id, amount }) => [id, amount]))
  const differences: Difference[] = []
  let [agreed, jobs] = [0n, 0]
  for (const { id, amount } of ours) {
    const other = there.get(id)
    there.delete(id)
    if (other === amount) {
      agreed += amount
      jobs++
    } else differences.push({ id, by, ours: amount, theirs: other ?? null })
  }
  for (const [id, amount] of there) differences.push({ id, by, ours: null, theirs: amount })
  return { agreed, jobs, differences }
}
