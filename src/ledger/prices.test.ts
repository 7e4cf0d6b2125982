import { expect, test } from 'vitest'
import { type Runtime, systemRuntime } from '#runtime'
import { openDatabase } from '#storage'
import { testDatabase } from '../testkit/test-database.ts'
import { ledgerLimits } from './limits.ts'
import { Prices } from './prices.ts'

const usual = { prompt: 100n, completion: 400n }
const code = (expected: string) => ({ refusal: { code: expected } })

test('while the database is away a model costs what it cost last; a pool that never knew a price says that it is away', async () => {
  await using home = await testDatabase()
  const database = await openDatabase({ target: home.target, runtime: systemRuntime })
  let later = 0
  const runtime: Runtime = { ...systemRuntime, monotonic: () => systemRuntime.monotonic() + later }
  const prices = new Prices(database, runtime)
  await prices.set({ model: 'big', unit: 'completion_token', amount: 900n, setBy: 'test' })
  const dear = { prompt: 100n, completion: 900n }
  expect(await prices.for('big')).toEqual(dear)
  await database.end()
  later += ledgerLimits.pricesFreshMs
  for (let hour = 0; hour < 3; hour++, later += 3_600_000) {
    expect(await prices.for('big')).toEqual(dear)
    expect(await prices.for('other')).toEqual(usual)
  }
  await expect(new Prices(database, runtime).for('big')).rejects.toMatchObject(code('database_unavailable'))
})

test('a price that an owner sets in another process counts within a second, here too', async () => {
  await using home = await testDatabase()
  let later = 0
  const runtime: Runtime = { ...systemRuntime, monotonic: () => later }
  const [here, there] = [new Prices(home.database, runtime), new Prices(home.database, systemRuntime)]
  expect(await here.for('big')).toEqual(usual)
  await there.set({ model: 'big', unit: 'prompt_token', amount: 7n, setBy: 'test' })
  expect(await here.for('big')).toEqual(usual)
  later += ledgerLimits.pricesFreshMs
  expect(await here.for('big')).toEqual({ ...usual, prompt: 7n })
})
