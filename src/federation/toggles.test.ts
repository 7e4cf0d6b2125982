import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { openDatabase } from '#storage'
import { type TestDatabase, testDatabase } from '#testkit'
import { Toggles } from './toggles.ts'

let db: TestDatabase
let files: string[] = []
const flips: object[] = []
const options = () => ({
  database: db.database,
  runtime: systemRuntime,
  filesThere: async () => files,
  whyNoWrite: async () => undefined,
  onFlip: (event: object) => flips.push(event),
  onProblem: () => {},
})
const owner = { actor: 'owner.key', reason: 'a drill' }

beforeAll(async () => {
  db = await testDatabase()
})
afterAll(() => db.drop())

test('a fresh pool hears its neighbours, lets them read, and lets nobody write', async () => {
  using toggles = await Toggles.open(options())
  expect(await toggles.because()).toEqual([])
  expect([toggles.allows('read'), toggles.allows('write')]).toEqual([true, false])
})

test('lending is switched while the pool runs, and what a setting keeps off cannot be turned on', async () => {
  using toggles = await Toggles.open(options())
  expect([toggles.allows('accept'), toggles.allows('forward')]).toEqual([true, true])
  await toggles.set('accept', false, owner)
  expect([toggles.allows('accept'), toggles.allows('forward')]).toEqual([false, true])
  const [act] = await db.sql`select actor, details from acts where subject = 'toggle:accept'`
  expect(act).toMatchObject({ actor: 'owner.key', details: { on: false, reason: 'a drill' } })
  await toggles.set('accept', true, owner)
  using strict = await Toggles.open({ ...options(), keptOff: new Map([['forward', 'federation_forward']]) })
  expect([strict.allows('accept'), strict.allows('forward')]).toEqual([true, false])
  expect((await strict.list()).find(({ name }) => name === 'forward')).toMatchObject({
    isOn: false,
    changedBy: 'settings',
  })
  await expect(strict.set('forward', true, owner)).rejects.toThrow('federation_forward')
})

test('what is killed here is off before the command returns, off in every other process soon, and both acts are on record', async () => {
  await using second = await openDatabase({ target: db.target, runtime: systemRuntime })
  using here = await Toggles.open(options())
  using there = await Toggles.open({ ...options(), database: second })
  const ended = Promise.withResolvers<void>()
  there.register(() => ended.resolve())
  await here.set('kill', true, owner)
  expect(await here.because()).toEqual(['lichen fed kill'])
  await ended.promise
  expect(await there.on()).toBe(true)
  await here.set('kill', false, owner)
  await expect.poll(() => there.on(), { timeout: 20_000 }).toBe(false)
  const acts = await db.sql`select actor, action, details from acts where subject = 'toggle:kill' order by seq`
  const details = { reason: 'a drill' }
  expect(acts).toMatchObject([
    { actor: 'owner.key', action: 'federation.kill', details },
    { actor: 'owner.key', action: 'federation.resume', details },
  ])
})

test('a file keeps federation off whatever the row says, ends what runs, and is named to whoever resumes', async () => {
  using toggles = await Toggles.open(options())
  const ended = Promise.withResolvers<void>()
  const forget = toggles.register(() => ended.resolve())
  files = ['/etc/iamine/fed_disable']
  await ended.promise
  forget()
  expect(await toggles.on()).toBe(true)
  await expect(toggles.set('kill', false, owner)).rejects.toThrow('/etc/iamine/fed_disable')
  files = []
  expect(await toggles.on()).toBe(false)
})

test('a database that does not answer counts as on, from the start and in the middle', async () => {
  const gone = await openDatabase({ target: db.target, runtime: systemRuntime })
  using before = await Toggles.open({ ...options(), database: gone })
  expect(await before.on()).toBe(false)
  await gone.end()
  await expect.poll(() => before.because(), { timeout: 20_000 }).toEqual(['database unreachable'])
  expect(before.allows('read')).toBe(false)
  using after = await Toggles.open({ ...options(), database: gone })
  expect(await after.on()).toBe(true)
})

test('a switch that was removed by hand could not be turned: the database keeps it', async () => {
  await expect(db.sql`delete from federation_toggles where name = 'kill'`).rejects.toThrow('stay')
})
