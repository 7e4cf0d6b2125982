import { sha256 } from '#crypto'
import { openSuccession, PoolError } from '#protocol'
import type { Sql } from '#storage'

/** The act that records that another key goes on in the place of the pool's. */
export const successionAction = 'pool.succession'

/** A key the pool had before. */
interface EarlierKey {
  readonly publicKey: Buffer
  /** The last generation of the log it has signed. */
  readonly lastGeneration: number
  /** In which it names its successor. */
  readonly note: string
}

/** The keys a pool has had, oldest first, and the one it has now. */
export class PoolKeys {
  readonly current: Buffer
  readonly earlier: readonly EarlierKey[]

  constructor(current: Buffer, earlier: readonly EarlierKey[] = []) {
    this.current = current
    this.earlier = earlier
  }

  /** The first one: accounts of the pool itself keep it. */
  get first(): Buffer {
    return this.earlier[0]?.publicKey ?? this.current
  }

  get all(): readonly Buffer[] {
    return [...this.earlier.map(({ publicKey }) => publicKey), this.current]
  }

  has(key: Buffer): boolean {
    return this.all.some((one) => one.equals(key))
  }

  /** By the id it goes under, 32 bytes; undefined for another pool. */
  ofPool(id: Buffer): Buffer | undefined {
    return this.all.find((key) => sha256(key).equals(id))
  }

  /** Which one signs the checkpoints of a generation. */
  ofGeneration(generation: number): Buffer {
    return this.earlier.find(({ lastGeneration }) => generation <= lastGeneration)?.publicKey ?? this.current
  }

  /** Statements by which each key from this one on names its successor. */
  notesSince(key: Buffer): readonly string[] {
    const from = this.earlier.findIndex(({ publicKey }) => publicKey.equals(key))
    return from < 0 ? [] : this.earlier.slice(from).map(({ note }) => note)
  }
}

/**
 * The keys of the pool whose key now is `current`, from the acts on record: each must have signed for the next one.
 * @throws PoolError log_mismatch.
 */
export async function readPoolKeys(sql: Sql, current: Buffer): Promise<PoolKeys> {
  const rows = await sql<{ note: string }[]>`
    select details ->> 'note' as note from acts where action = ${successionAction} order by seq limit 1000`
  const earlier: EarlierKey[] = []
  let due: Buffer | undefined
  for (const { note } of rows) {
    const opened = openSuccession(note)
    if (!opened.ok || (due && !due.equals(opened.succession.from))) throw broken()
    const { from, to, last } = opened.succession
    earlier.push({ publicKey: from, lastGeneration: last.generation, note })
    due = to
  }
  if (due && !due.equals(current)) throw broken()
  return new PoolKeys(current, earlier)
}

const broken = () =>
  new PoolError(
    'log_mismatch',
    'The keys that the pool has had do not follow each other up to its key now.',
    'Put the pool’s own pool.key back; if it is there, run `lichen audit`, and restore the database from a backup.',
  )
