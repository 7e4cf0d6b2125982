import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import { aloneWith } from './alone-with.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
})
afterAll(() => db.drop())

test('two who decide about a worker do so one after the other, and about others at once', async () => {
  const course: string[] = []
  const work = (name: string) => async () => {
    course.push(`${name} begins`)
    await db.sql`select pg_sleep(0.05)`
    course.push(`${name} ends`)
  }
  await Promise.all([aloneWith(db.database, 'w', work('one')), aloneWith(db.database, 'w', work('two'))])
  expect(course.map((line) => line.split(' ')[1])).toEqual(['begins', 'ends', 'begins', 'ends'])
  await aloneWith(db.database, 'w', () => aloneWith(db.database, 'another', work('three')))
})

test('who lost the lock during the work hears of it, since somebody else may have been at work', async () => {
  const first = aloneWith(db.database, 'w', async () => {
    await db.sql`
      select pg_terminate_backend(pid) from pg_locks
       where locktype = 'advisory' and objsubid = 2
         and database = (select oid from pg_database where datname = current_database())`
    await aloneWith(db.database, 'w', async () => 'the second')
    return 'the first'
  })
  await expect(first).rejects.toMatchObject({ code: 'database_unavailable' })
})
