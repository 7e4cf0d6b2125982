import { systemRuntime } from '#runtime'
import { type Database, type DatabaseTarget, openDatabase, type Sql } from '#storage'
import { askBroker } from './shared.ts'
import { startTestServer, type TestServer, urlOf, withDatabase } from './test-server.ts'

/** A migrated, empty database of one's own. */
export interface TestDatabase extends AsyncDisposable {
  readonly target: DatabaseTarget
  readonly url: string
  readonly database: Database
  readonly sql: Sql
  /** Removes it. The last one dropped in a process without a broker stops the server, too. */
  drop(): Promise<void>
}

let own: Promise<TestServer> | undefined
let inUse = 0
let serial = 0

/** Copies the template: about a tenth of a second. Call it once per test file, or per test that breaks things. */
export async function testDatabase(): Promise<TestDatabase> {
  inUse++
  const { admin, template } = await findServer()
  const name = `lichen_test_${process.pid}_${++serial}_${Date.now().toString(36)}`
  await administer(admin, `create database ${name} template ${template}`)
  const target = withDatabase(admin, name)
  const database = await openDatabase({ target, runtime: systemRuntime })
  const drop = async () => {
    await database.end()
    await administer(admin, `drop database if exists ${name} with (force)`)
    if (--inUse === 0 && own) {
      const server = await own
      own = undefined
      await server.stop()
    }
  }
  return { target, url: urlOf(target), database, sql: database.sql, drop, [Symbol.asyncDispose]: drop }
}

async function administer(admin: DatabaseTarget, statement: string): Promise<void> {
  await using server = await openDatabase({ target: admin, runtime: systemRuntime })
  await server.sql.unsafe(statement)
}

async function findServer(): Promise<Pick<TestServer, 'admin' | 'template'>> {
  const shared = await askBroker<Pick<TestServer, 'admin' | 'template'>>('server')
  if (shared) return shared
  own ??= startTestServer()
  return own
}
