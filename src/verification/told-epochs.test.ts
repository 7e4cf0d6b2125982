import { afterAll, beforeAll, expect, test } from 'vitest'
import { epochCommitment } from '#protocol'
import { systemRuntime } from '#runtime'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import { verificationLimits } from './limits.ts'
import { ToldEpochs } from './told-epochs.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
  const key = systemRuntime.randomBytes(32)
  await db.sql`
    insert into epochs (epoch, commitment, key, disclosure)
    values (490001, ${epochCommitment(key)}, ${key}, ${systemRuntime.randomBytes(32)})`
})
afterAll(() => db.drop())

test('as many strangers as may read at once do, however they ask, and each gives way by reading or by leaving', async () => {
  const told = new ToldEpochs(db.sql)
  const most = verificationLimits.disclosuresAtOnceMax
  const asked = await Promise.allSettled(Array.from({ length: 3 * most }, () => told.open(490_001)))
  const open = asked.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  expect(open).toHaveLength(most)
  await expect(told.open(490_001)).rejects.toMatchObject({ code: 'overloaded' })
  const [first, second] = open
  await first?.return(undefined)
  const third = await told.open(490_001)
  await expect(told.open(490_001)).rejects.toMatchObject({ code: 'overloaded' })
  for await (const _ of second ?? []);
  await third.return(undefined)
  expect(await Promise.all([told.open(490_001), told.open(490_001)])).toHaveLength(2)
})
