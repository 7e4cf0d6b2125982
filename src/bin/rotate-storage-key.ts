import { rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Settings } from '#config'
import { PoolError } from '#protocol'
import { systemRuntime as runtime } from '#runtime'
import { type Database, readKeyFile, syncFolder } from '#storage'
import { resealAll, sealingKey } from '#verification'
import { finishSuccession } from './finish-succession.ts'
import { openForCommand, poolKeyOf, refuseMissingFolder, refuseOtherSchema } from './pool-database.ts'
import { writeKeyFile } from './replace-key-file.ts'

const nextFile = 'sealing.key.next'

/**
 * `lichen rotate storage`: another key for what lies sealed in the database. `onStep` is told before each step.
 * @throws PoolError data_in_use, not_found, config_invalid.
 */
export async function rotateStorageKey(settings: Settings, onStep: (step: string) => void = () => {}): Promise<void> {
  const { data } = settings
  await refuseMissingFolder(data)
  await using opened = await openForCommand(settings, { alone: true })
  const { database } = opened
  await refuseOtherSchema(database)
  await finishSuccession(data, database)
  await finishStorageKey(data, database)
  onStep('next key')
  await writeKeyFile(path.join(data, nextFile), runtime.randomBytes(32))
  await finishStorageKey(data, database, onStep)
  onStep('done')
}

/**
 * Brings a change of the storage key to its end, wherever it was cut off.
 *
 *   sealing.key.next written ──▶ database: all sealed anew, in one transaction ──▶ sealing.key.next becomes sealing.key
 *
 * Cut off in between, it is gone on with by whoever comes next: what lies under the new key already is left as it is.
 */
export async function finishStorageKey(
  data: string,
  database: Pick<Database, 'transaction'>,
  onStep: (step: string) => void = () => {},
): Promise<void> {
  const file = path.join(data, nextFile)
  const next = await readKeyFile(file, 32)
  if (!next) return
  const kept = await readKeyFile(path.join(data, 'sealing.key'), 32)
  const old = kept ?? sealingKey((await poolKeyOf(data)).seed)
  onStep('database')
  await database.transaction((tx) => resealAll(tx, { old, next, runtime })).catch(forgetRefused(file))
  onStep('key file')
  await rename(file, path.join(data, 'sealing.key'))
  await syncFolder(data)
}

/** What was refused has changed nothing, and must not stop the pool from starting with the key it has. */
const forgetRefused = (file: string) => async (error: unknown) => {
  if (error instanceof PoolError && error.code === 'config_invalid') await rm(file, { force: true })
  throw error
}
