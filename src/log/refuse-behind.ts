import { openSuccession, PoolError } from '#protocol'
import type { Sql } from '#storage'
import { isGenerationSigned, parseGenerationStatement } from './generation-statement.ts'
import { type KnownCheckpoint, newerThan } from './outside-copy.ts'
import { successionAction } from './pool-keys.ts'
import { readRoot } from './read-tree.ts'

const auditFix = 'Run `lichen audit` to see what was changed, and restore the database from a backup.'

/**
 * Compares the database with the last checkpoint that was written down outside it.
 * @throws PoolError log_behind when leaves are missing, log_mismatch when they are others.
 */
export async function refuseBehind(sql: Sql, copy: KnownCheckpoint, latest: KnownCheckpoint): Promise<void> {
  if (newerThan(copy, latest)) {
    const lost = latest.generation === copy.generation ? `${copy.size - latest.size} leaves of the log` : 'a whole log'
    throw new PoolError(
      'log_behind',
      `The database is older than the last checkpoint that was written down: ${lost} would be lost.`,
      'Restore a newer backup. If there is none, `lichen restore --accept-loss` continues and leaves a signed record of it.',
    )
  }
  const goesOn = latest.generation === copy.generation ? await contains(sql, copy) : await wasContinued(sql, copy)
  if (goesOn) return
  throw new PoolError(
    'log_mismatch',
    'The log does not go on from the last checkpoint that was written down.',
    auditFix,
  )
}

/** Whether the log begins with the tree of this checkpoint. */
export async function contains(sql: Sql, checkpoint: KnownCheckpoint): Promise<boolean> {
  const root = await readRoot(sql, checkpoint.size).catch((error: unknown) => {
    if (error instanceof RangeError) return undefined
    throw error
  })
  return root?.equals(checkpoint.root) ?? false
}

/** Whether an act on record signs for the generation after this checkpoint, naming it or a newer one. */
async function wasContinued(sql: Sql, copy: KnownCheckpoint): Promise<boolean> {
  const rows = await sql<{ details: unknown }[]>`select details from acts where action = ${generationAction}`
  return rows.some(({ details }) => {
    const statement = parseDetails(details)
    return statement?.last.generation === copy.generation && statement.last.size >= copy.size
  })
}

/** The act that records a new generation. */
export const generationAction = 'log.generation'

function parseDetails(details: unknown) {
  const { key, note } = details as { key?: unknown; note?: unknown }
  const statement = parseGenerationStatement(String(note))
  if (!statement) return undefined
  return isGenerationSigned(String(note), statement, Buffer.from(String(key), 'hex')) ? statement : undefined
}

/** What began a generation: an admin's word after a loss, or that of the key before after a succession. */
export interface GenerationNote {
  /** Whose it is, hex. */
  readonly key: string
  readonly note: string
}

/** What began the generations of the log, the newest first; none for the first one. */
export async function readGenerationNotes(sql: Sql, max = 1_000): Promise<readonly GenerationNote[]> {
  const rows = await sql<{ details: { key?: string; note: string } }[]>`
    select details from acts where action in (${generationAction}, ${successionAction}) order by seq desc limit ${max}`
  return rows.flatMap(({ details: { key, note } }) => {
    if (key !== undefined) return { key, note }
    const opened = openSuccession(note)
    return opened.ok ? { key: opened.succession.from.toString('hex'), note } : []
  })
}
