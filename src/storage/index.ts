/**
 * Storage: PostgreSQL, embedded or yours, and the one way to write on the hot path.
 *
 * Owns    the embedded server, connections, migrations, group commit, the lock on the data directory, key files.
 * Imports config, protocol, runtime.
 * Always  nothing hangs when the database is down: every wait ends in `database_unavailable`; what was acknowledged
 *         is on disk.
 */
export { parseAddress } from './address.ts'
export { BatchLoader } from './batch-loader.ts'
export { bigints, booleans, bytes, numbers, texts, uuids } from './column.ts'
export { lockDataDir } from './data-dir-lock.ts'
export { type Database, type DatabaseTarget, openDatabase, type Sql, type Tx } from './database.ts'
export { dumpTable, loadDump, schemaOf, tablesOf } from './dump.ts'
export { runningPostgres } from './embedded/running.ts'
export {
  type AccountKind,
  type EmbeddedEvent,
  startEmbeddedPostgres,
} from './embedded/start.ts'
export { databaseError, fromDatabase } from './errors.ts'
export {
  GroupCommit,
  type Operation,
  type Outcome,
  type Part,
  part,
  type Stage,
} from './group-commit.ts'
export { privateFolder, readKeyFile, readOrCreateKeyFile } from './key-file.ts'
export { migrate, readMigrations } from './migrate.ts'
export { replacePrivateFile, syncFolder, writeSynced } from './private-file.ts'
