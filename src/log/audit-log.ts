import type { CompactTree } from '#crypto'
import { leafHash } from '#crypto'
import type { Sql } from '#storage'
import { type ActRow, actColumns, actLeafData } from './acts.ts'
import { logLimits } from './limits.ts'
import { type KnownCheckpoint, readCheckpoint } from './outside-copy.ts'
import type { PoolKeys } from './pool-keys.ts'
import { readTree } from './read-tree.ts'
import { TileCheck } from './tile-check.ts'

/** Something that is not as it was logged. */
export interface LogProblem {
  readonly table: 'log_leaves' | 'log_head' | 'log_checkpoints' | 'log_tiles' | 'acts'
  /** Which row: an index, a number, `level/index`; empty for the whole table. */
  readonly row: string
  /** What is wrong, in one sentence. */
  readonly sentence: string
}

export interface AuditWish {
  readonly sql: Sql
  readonly keys: PoolKeys
  /** The checkpoint known from outside the database. */
  readonly copy: KnownCheckpoint | undefined
  /** Leaves before it are taken as they are: an earlier audit found them right. */
  readonly from: number
  /** Milliseconds since 1970. */
  readonly now: number
}

interface HeadRow {
  readonly generation: number
  readonly size: bigint
  readonly frontier: Buffer[]
  readonly checkpoints: bigint
  /** Leaves outside 0 … size - 1, and checkpoints beyond the head. */
  readonly strays: bigint
  readonly beyond: bigint
}

interface LeafRow {
  readonly index: bigint
  readonly kind: string
  readonly ref: string
  readonly hash: Buffer
}

interface CheckpointRow {
  readonly number: bigint
  readonly generation: number
  readonly size: bigint
  readonly note: string
}

const problem = (table: LogProblem['table'], row: string | number | bigint, sentence: string): LogProblem => ({
  table,
  row: String(row),
  sentence,
})

/**
 * Grows the tree again from the stored leaves and compares everything that was made from it: each checkpoint and its
 * signature, the head, the stored tiles, the acts, the copy outside. Says what does not fit, in the order of the leaves;
 * ends early where the leaves themselves have a gap. Leaves that are added meanwhile are left out.
 */
export async function* auditLog(wish: AuditWish): AsyncGenerator<LogProblem, void> {
  const { sql, copy } = wish
  const [head] = await sql<HeadRow[]>`
    select h.generation, h.size, h.frontier, h.checkpoints,
           (select count(*) from log_leaves where index < 0 or index >= h.size) as strays,
           (select count(*) from log_checkpoints where size > h.size or number >= h.checkpoints) as beyond
      from log_head h`
  if (!head) return void (yield problem('log_head', '', 'The head of the log is missing.'))
  if (head.strays > 0n) yield problem('log_leaves', '', `Leaves outside the tree: ${head.strays}.`)
  if (head.beyond > 0n) yield problem('log_checkpoints', '', `Checkpoints beyond the head: ${head.beyond}.`)
  const size = Number(head.size)
  if (copy && (copy.generation > head.generation || (copy.generation === head.generation && copy.size > size)))
    yield problem('log_head', '', `The log has ${size} leaves; the checkpoint outside the database has ${copy.size}.`)
  const tree = await readTree(sql, Math.min(wish.from, size)).catch(() => undefined)
  if (!tree) return void (yield problem('log_leaves', '', `The first ${wish.from} leaves are not complete.`))
  const notes = new CheckpointCheck(wish, head)
  const tiles = new TileCheck(sql, tree.size)
  yield* notes.at(tree, await checkpointsOf(sql, tree.size, tree.size))
  while (tree.size < size) {
    const rows = await leavesFrom(sql, tree.size, size)
    const checkpoints = await checkpointsOf(sql, tree.size + 1, tree.size + rows.length)
    for (const row of rows) {
      if (Number(row.index) !== tree.size) return void (yield gapAt(tree.size))
      tree.append(row.hash)
      yield* notes.at(tree, checkpoints)
      yield* await tiles.add(row.hash)
    }
    yield* await actsOf(sql, rows)
    if (rows.length === 0) return void (yield gapAt(tree.size))
  }
  yield* notes.end()
  if (!sameHashes(head.frontier, tree.frontier)) yield problem('log_head', '', 'The head does not fit the leaves.')
  yield* await unloggedActs(wish)
}

const gapAt = (index: number) => problem('log_leaves', index, `Leaf ${index} is missing.`)
const sameHashes = (a: readonly Buffer[], b: readonly Buffer[]) =>
  a.length === b.length && a.every((hash, n) => b[n] && hash.equals(b[n]))

const leavesFrom = (sql: Sql, from: number, size: number) => sql<LeafRow[]>`
  select index, kind, ref, hash from log_leaves where index >= ${from} and index < ${size}
   order by index limit ${logLimits.auditBatch}`

/** By the size they are of. */
async function checkpointsOf(sql: Sql, from: number, to: number): Promise<Map<number, CheckpointRow[]>> {
  const rows = await sql<CheckpointRow[]>`
    select number, generation, size, note from log_checkpoints where size between ${from} and ${to} order by number`
  return Map.groupBy(rows, (row) => Number(row.size))
}

/** Checkpoints in their order: numbered without a gap, ever larger, signed, with the root of the leaves. */
class CheckpointCheck {
  readonly #wish: AuditWish
  readonly #head: HeadRow
  #next: bigint | undefined
  #generation = 0
  #lastSize = -1

  constructor(wish: AuditWish, head: HeadRow) {
    this.#wish = wish
    this.#head = head
    if (wish.from === 0) this.#next = 0n
  }

  *at(tree: CompactTree, bySize: ReadonlyMap<number, readonly CheckpointRow[]>): Generator<LogProblem, void> {
    const { copy } = this.#wish
    if (copy && copy.generation === this.#head.generation && copy.size === tree.size && !copy.root.equals(tree.root()))
      yield problem(
        'log_leaves',
        '',
        `The first ${tree.size} leaves are not those of the checkpoint outside the database.`,
      )
    for (const row of bySize.get(tree.size) ?? []) {
      const what = this.#whyNot(row, tree)
      if (what !== undefined) yield problem('log_checkpoints', row.number, `Checkpoint ${row.number} ${what}.`)
      this.#next = row.number + 1n
      this.#generation = row.generation
      this.#lastSize = Number(row.size)
    }
  }

  #whyNot(row: CheckpointRow, tree: CompactTree): string | undefined {
    if (this.#next !== undefined && row.number !== this.#next) return `stands where number ${this.#next} belongs`
    if (row.generation < this.#generation) return 'goes back to an earlier generation'
    if (this.#lastSize === tree.size) return 'is the second one of its size'
    const said = readCheckpoint(row.note, this.#wish.keys.ofGeneration(row.generation))
    if (!said) return "does not carry the pool's signature"
    if (said.size !== Number(row.size) || said.generation !== row.generation) return 'says something else than its row'
    return said.root.equals(tree.root()) ? undefined : 'has another root than the leaves'
  }

  *end(): Generator<LogProblem, void> {
    const { generation, checkpoints, size } = this.#head
    if (this.#next === checkpoints && this.#lastSize === Number(size)) {
      if (generation === this.#generation) return
      const sentence = `The head is of generation ${generation}, the newest checkpoint of ${this.#generation}.`
      return void (yield problem('log_head', '', sentence))
    }
    yield problem('log_checkpoints', '', `The log has ${checkpoints} checkpoints; some are not there.`)
  }
}

/** The acts of these leaves, each against its leaf. */
async function actsOf(sql: Sql, leaves: readonly LeafRow[]): Promise<LogProblem[]> {
  const logged = leaves.filter((leaf) => leaf.kind === 'act')
  if (logged.length === 0) return []
  const rows = await sql<ActRow[]>`
    select ${actColumns(sql)} from acts a where a.seq::text = any(${logged.map((leaf) => leaf.ref)}::text[])`
  const acts = new Map(rows.map((row) => [String(row.seq), row]))
  return logged.flatMap(({ ref, hash }) => {
    const act = acts.get(ref)
    if (!act) return [problem('acts', ref, `Act ${ref} is missing.`)]
    return leafHash(actLeafData(act)).equals(hash) ? [] : [problem('acts', ref, `Act ${ref} is not what was logged.`)]
  })
}

/** Acts that should have a leaf by now. */
async function unloggedActs({ sql, now }: AuditWish): Promise<LogProblem[]> {
  const rows = await sql<{ seq: bigint }[]>`
    select seq from acts a where a.at < ${now - logLimits.actUnloggedMsMax}
       and not exists (select from log_leaves l where l.kind = 'act' and l.ref = a.seq::text)
     order by seq limit 10`
  return rows.map(({ seq }) => problem('acts', seq, `Act ${seq} was never logged.`))
}
