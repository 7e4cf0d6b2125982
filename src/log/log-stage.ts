import { CompactTree, leafHash } from '#crypto'
import { PoolError, signCheckpoint } from '#protocol'
import { bytes, type Stage, type Tx, texts } from '#storage'
import type { Leaf } from './leaf.ts'
import { type KnownCheckpoint, readCheckpoint } from './outside-copy.ts'

/** Who signs the checkpoints: the pool. */
export interface LogSigner {
  /** 32 raw bytes of Ed25519. */
  readonly publicKey: Buffer
  sign(bytes: Buffer): Buffer
}

/** 1: another leaf of the same kind and name stands in the log already. */
export const leafCodes = { applied: 0, conflict: 1 } as const

/** The right edge of the tree, read under its lock. */
export interface LogHead {
  readonly generation: number
  readonly checkpoints: number
  readonly tree: CompactTree
  /** The newest checkpoint; empty before the first. */
  readonly note: string
}

/** What a checkpoint says, and its text. */
type SignedTree = Pick<KnownCheckpoint, 'generation' | 'size' | 'root' | 'note'>

interface NewLeaf {
  readonly kind: string
  readonly ref: string
  readonly hash: Buffer
}

/**
 * The last stage of a flush: adds the leaves it does not know yet and signs the new root, in the flush's own transaction.
 * From its first statement to the commit it holds the lock that orders all pool processes. It goes on only from what the
 * pool signed before; `refuse` throws when that is not what this process knows.
 */
export function logStage(signer: LogSigner, refuse: (head: LogHead) => void): Stage<Leaf> {
  /** Made here last: its signature need not be verified when it comes back. */
  let own: SignedTree | undefined
  return {
    name: 'log',
    asksOnce: true,
    ahead: 'reads',
    async apply(tx, leaves, atCommit, decided) {
      const wanted = leaves.map(({ kind, ref, data }) => ({ kind, ref, hash: leafHash(data) }))
      const { head, known } = await beginLog(tx, wanted)
      assertSigned(head, head.note === own?.note ? own : readCheckpoint(head.note, signer.publicKey))
      refuse(head)
      const { codes, added } = sortOut(wanted, known, await decided)
      if (added.length > 0) {
        const next = appendTo(head, added, signer)
        own = next
        atCommit(next.statement)
      }
      return codes
    },
  }
}

/** The head alone proves nothing: who can write to the database can write it. */
function assertSigned({ generation, tree }: LogHead, said: SignedTree | undefined): void {
  if (said && said.generation === generation && said.size === tree.size && said.root.equals(tree.root())) return
  throw new PoolError(
    'log_mismatch',
    `The head of the log, ${tree.size} leaves, is not what the pool signed last.`,
    'Stop the pool, run `lichen audit` to see what was changed, and restore the database from a backup.',
  )
}

interface BegunLog {
  readonly generation: number
  readonly size: bigint
  readonly frontier: Buffer[]
  readonly checkpoints: bigint
  readonly note: string | null
  readonly places: number[]
  readonly known: Buffer[]
}

/** Locks the head; `known` holds the hashes that are logged already, by their place in `wanted`. */
export async function beginLog(
  tx: Tx,
  wanted: readonly NewLeaf[],
): Promise<{ head: LogHead; known: ReadonlyMap<number, Buffer> }> {
  const kinds = texts(wanted.map((leaf) => leaf.kind))
  const refs = texts(wanted.map((leaf) => leaf.ref))
  const [row] = await tx<BegunLog[]>`select * from begin_log(${kinds}::text[], ${refs}::text[])`
  if (!row) throw new Error('the log has no head')
  const { generation, note, checkpoints, places } = row
  const tree = new CompactTree(Number(row.size), row.frontier)
  const known = new Map(row.known.map((hash, n) => [(places[n] ?? 0) - 1, hash]))
  return { head: { generation, checkpoints: Number(checkpoints), tree, note: note ?? '' }, known }
}

/** A code for each, and the ones to be added: each name once, of operations that were not refused. */
function sortOut(
  wanted: readonly NewLeaf[],
  known: ReadonlyMap<number, Buffer>,
  counts: (n: number) => boolean,
): { codes: number[]; added: NewLeaf[] } {
  const hashes = new Map<string, Buffer>()
  const added: NewLeaf[] = []
  const codes = wanted.map((leaf, n) => {
    if (!counts(n)) return leafCodes.applied
    const name = `${leaf.kind} ${leaf.ref}`
    const there = known.get(n) ?? hashes.get(name)
    if (there) return there.equals(leaf.hash) ? leafCodes.applied : leafCodes.conflict
    hashes.set(name, leaf.hash)
    added.push(leaf)
    return leafCodes.applied
  })
  return { codes, added }
}

/** The checkpoint over the tree with these leaves added, and the one statement that adds them and moves the head. */
export function appendTo(
  head: LogHead,
  added: readonly NewLeaf[],
  signer: LogSigner,
): SignedTree & { statement(tx: Tx): Promise<unknown> } {
  const tree = head.tree.clone()
  for (const leaf of added) tree.append(leaf.hash)
  const { generation } = head
  const { size } = tree
  const root = tree.root()
  const note = signCheckpoint({ generation, size, root }, signer)
  const statement = async (tx: Tx) =>
    await tx`
    with leaf as (
      insert into log_leaves (index, kind, ref, hash)
      select ${head.tree.size}::bigint + n - 1, kind, ref, hash
        from unnest(${texts(added.map((l) => l.kind))}::text[], ${texts(added.map((l) => l.ref))}::text[],
                    ${bytes(added.map((l) => l.hash))}::bytea[]) with ordinality as l (kind, ref, hash, n)),
    head as (
      update log_head set generation = ${generation}, size = ${size}, frontier = ${bytes(tree.frontier)}::bytea[],
                          checkpoints = ${head.checkpoints + 1})
    insert into log_checkpoints (number, generation, size, note)
    values (${head.checkpoints}, ${generation}, ${size}, ${note})`
  return { generation, size, root, note, statement }
}

/** The first checkpoint says that there is nothing yet. */
export async function beginIfNew(tx: Tx, signer: LogSigner): Promise<void> {
  await tx`insert into log_head (generation, size, frontier, checkpoints) values (1, 0, '{}', 0) on conflict do nothing`
  const { head } = await beginLog(tx, [])
  if (head.checkpoints === 0) await appendTo(head, [], signer).statement(tx)
}
