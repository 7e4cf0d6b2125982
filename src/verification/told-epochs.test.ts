import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import { tellHour, toldHour } from '../testkit/told-hour.ts'
import { verificationLimits } from './limits.ts'
import { ToldEpochs } from './told-epochs.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
  await tellHour(db)
})
afterAll(() => db.drop())

test('as many strangers as may read at once do, however they ask, and each gives way by reading or by leaving', async () => {
  const told = new ToldEpochs(db.sql)
  const most = verificationLimits.disclosuresAtOnceMax
  const asked = await Promise.allSettled(Array.from({ length: 3 * most }, () => told.open(toldHour)))
  const open = asked.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  expect(open).toHaveLength(most)
  await expect(told.open(toldHour)).rejects.toMatchObject({ code: 'overloaded' })
  const [first, second] = open
  await first?.return(undefined)
  const third = await told.open(toldHour)
  await expect(told.open(toldHour)).rejects.toMatchObject({ code: 'overloaded' })
  for await (const _ of second ?? []);
  await third.return(undefined)
  expect(await Promise.all([told.open(toldHour), told.open(toldHour)])).toHaveLength(2)
})
