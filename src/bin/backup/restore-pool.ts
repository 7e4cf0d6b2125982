import { stat } from 'node:fs/promises'
import path from 'node:path'
import type { Settings } from '#config'
import { type Identity, identityFromSeed } from '#crypto'
import {
  describeLoss,
  type GenerationStatement,
  insertAct,
  openGeneration,
  outsideCheckpoint,
  signGeneration,
} from '#log'
import { PoolError } from '#protocol'
import { systemRuntime } from '#runtime'
import { type Database, loadDump, readKeyFile, syncFolder, type Tx, writeSynced } from '#storage'
import { sealedElsewhere, sealingKey } from '#verification'
import { adminKeyFile, loadAdminKey } from '../admin-key-file.ts'
import { refuseProblem } from '../audit-at-start.ts'
import { type AuditCounts, auditState } from '../audit-pool.ts'
import { writeAuditedPosition } from '../audited-position.ts'
import { openForCommand, ourMigrations, refuseMissingFolder, refuseOtherSchema } from '../pool-database.ts'
import { keyFiles } from './format.ts'
import { type OpenBackup, openBackup } from './read-backup.ts'

export interface RestoreWish {
  /** Undefined: the database is there. */
  readonly file: string | undefined
  readonly acceptLoss: boolean
  /** Name or file of the admin key that signs a loss. */
  readonly signedBy: string | undefined
}

export interface Restored {
  readonly ok: true
  readonly checked: AuditCounts
  /** Leaves of the checkpoint outside that it was compared with; null without one, and after a loss. */
  readonly outside: number | null
  /** The generation that was opened, how many leaves of the one before are gone, and how many its checkpoint outside had. */
  readonly lost: { readonly generation: number; readonly leaves: number; readonly outside: number } | null
  /** An hour whose key does not open with the keys in the data folder: the pool will not start before `sealing.key` is there. Null: it opens. */
  readonly locked: number | null
}

/**
 * `lichen restore`: fills an empty database, checks all of it, and compares it with the checkpoint outside; in one
 * transaction. With a loss that is accepted the next generation of the log is opened, signed by an admin.
 * @throws PoolError conflict, backup_unusable, schema_too_new, history_changed, log_behind, data_in_use, not_found.
 */
export async function restorePool(settings: Settings, wish: RestoreWish): Promise<Restored> {
  if (wish.file === undefined && !wish.acceptLoss) {
    throw new PoolError('invalid_request', 'There is nothing to restore.', 'Name the file that `lichen backup` wrote.')
  }
  const backup = wish.file === undefined ? undefined : await openBackup(wish.file)
  if (!backup) await refuseMissingFolder(settings.data)
  const pool = await identityOf(settings.data, backup)
  await using opened = await openForCommand(settings, { alone: true })
  if (!backup) await refuseOtherSchema(opened.database)
  const task = { ...wish, data: settings.data, backup, pool }
  const { loss, ...found } = await inTransaction(opened.database, (tx) => fillAndCheck(tx, task))
  const lost = loss && (await goOn(opened.database, task, loss))
  return { ok: true, ...found, lost: lost ?? null }
}

interface Task extends RestoreWish {
  readonly data: string
  readonly backup: OpenBackup | undefined
  readonly pool: Identity
}

interface AcceptedLoss {
  readonly statement: GenerationStatement
  readonly admin: Identity
}

async function inTransaction<T>(database: Database, work: (tx: Tx) => Promise<T>): Promise<T> {
  const connection = await database.connect()
  try {
    return await connection.transaction(async (tx) => {
      await tx.unsafe('set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0')
      return work(tx)
    })
  } finally {
    await connection.close()
  }
}

type Filled = Pick<Restored, 'checked' | 'outside' | 'locked'> & { readonly loss: AcceptedLoss | undefined }

async function fillAndCheck(tx: Tx, task: Task): Promise<Filled> {
  const { backup, pool, data } = task
  if (backup) {
    const { header, rows } = backup
    await loadDump(tx, { schema: header.schema, migrations: await ourMigrations(), rows })
  }
  const within = { sql: tx, transaction: <T>(work: (inner: Tx) => Promise<T>) => work(tx) }
  const statement = await describeLoss({ database: within, signer: pool, dataDir: data })
  // what is behind the copy cannot be compared with it
  const copy = statement ? undefined : await outsideCheckpoint(data, pool.publicKey)
  const result = await auditState(tx, { poolKey: pool.publicKey }, copy)
  refuseProblem(result)
  if (!result.ok) throw new Error('a problem that was not refused')
  const loss = statement && (await acceptedLoss(tx, task, statement))
  if (backup) await placeKeys(data, backup.keys)
  await writeAuditedPosition(data, result.position, systemRuntime)
  const locked = await sealedElsewhere(
    tx,
    (await readKeyFile(path.join(data, 'sealing.key'), 32)) ?? sealingKey(pool.seed),
  )
  return { checked: result.counts, outside: copy?.size ?? null, loss, locked }
}

const lostLeaves = ({ size, last }: GenerationStatement) => Math.max(0, last.size - size)

/** @throws PoolError log_behind, not_found. */
async function acceptedLoss(tx: Tx, wish: Task, statement: GenerationStatement): Promise<AcceptedLoss> {
  const { size, last } = statement
  if (!wish.acceptLoss) {
    const leaves = lostLeaves(statement)
    throw new PoolError(
      'log_behind',
      `${leaves === 1 ? '1 leaf' : `${leaves} leaves`} of the log would be lost: the last checkpoint that was written down has ${last.size}, the database ${size}.`,
      'Restore a newer backup. If there is none: `--accept-loss --signed-by ADMIN` goes on and leaves a signed record of it.',
    )
  }
  if (wish.signedBy === undefined) {
    throw new PoolError('invalid_request', 'A loss is signed by an admin.', 'Name the key: `--signed-by NAME`.')
  }
  const isFile = wish.signedBy.includes('/') || (await stat(wish.signedBy).catch(() => undefined)) !== undefined
  const admin = await loadAdminKey(isFile ? wish.signedBy : adminKeyFile(wish.signedBy))
  await refuseStranger(tx, admin)
  return { statement, admin }
}

/** A pool that never had an admin key gets this one: whoever holds its folder is its owner, and could add it. */
async function refuseStranger(tx: Tx, { id, publicKey }: Identity): Promise<void> {
  const keys = await tx<{ id: string; good: boolean }[]>`select id, revoked_at is null as good from admin_keys`
  if (keys.some((key) => key.id === id && key.good)) return
  if (keys.length > 0) {
    throw new PoolError('not_found', 'The pool does not know this admin key.', 'Use one of `lichen admin-key ls`.')
  }
  const [name, actor] = ['restore', 'owner.key']
  await tx`
    insert into admin_keys (id, public_key, name, created_at, added_by)
    values (${id}, ${publicKey}, ${name}, ${systemRuntime.now()}, ${actor})`
  const details = { name, public_key: publicKey.toString('hex') }
  await insertAct(tx, { actor, action: 'admin_key.add', subject: `admin-key:${id}`, details })
}

async function goOn(database: Database, { pool, data }: Task, { statement, admin }: AcceptedLoss) {
  const note = signGeneration(statement, admin)
  await openGeneration({ database, signer: pool, dataDir: data }, note, admin.publicKey)
  return { generation: statement.generation, leaves: lostLeaves(statement), outside: statement.last.size }
}

/** The pool's key: of the data folder, else of the backup. @throws PoolError not_found, config_invalid. */
async function identityOf(data: string, backup: OpenBackup | undefined): Promise<Identity> {
  const there = await readKeyFile(path.join(data, 'pool.key'), 32)
  const packed = backup?.keys.get('pool.key')?.toString().trim()
  const seed = there ?? (packed === undefined ? undefined : Buffer.from(packed, 'base64url'))
  if (seed?.length !== 32) {
    throw new PoolError(
      'not_found',
      `pool.key is not in ${data}${backup ? ', nor in the backup' : ''}.`,
      'Put the key files of the pool into the data folder first (0600), or use a backup that was made with keys.',
    )
  }
  const identity = identityFromSeed(seed)
  if (!backup || backup.header.pool_id === identity.id) return identity
  throw new PoolError(
    'config_invalid',
    `The backup is of pool ${backup.header.pool_id.slice(0, 12)}…, and pool.key is that of pool ${identity.id.slice(0, 12)}….`,
    'Name the data folder of that pool with --data, or an empty one.',
  )
}

/** Those that are missing; one that is there stays. */
async function placeKeys(data: string, keys: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const name of keyFiles) {
    const bytes = keys.get(name)
    if (!bytes) continue
    await writeSynced(path.join(data, name), bytes).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  }
  await syncFolder(data)
}
