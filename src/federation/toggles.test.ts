import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { openDatabase } from '#storage'
import { type TestDatabase, testDatabase } from '#testkit'
import { Toggles } from './toggles.ts'

let db: TestDatabase
let files: { path: string; isThere: boolean }[] = []
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
  files = [{ path: '/etc/iamine/fed_disable', isThere: true }]
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

test('a slow database is called slow, not a switch that somebody has turned; federation is off all the same until it answers', async () => {
  using toggles = await Toggles.open(options())
  const ended = Promise.withResolvers<string>()
  toggles.register(ended.resolve)
  const done = Promise.withResolvers<void>()
  const slow = db.database.transaction(async (tx) => {
    await tx`lock table federation_toggles in access exclusive mode`
    await done.promise
  })
  expect(await ended.promise).toBe('switch_unknown')
  await expect.poll(() => toggles.because(), { timeout: 20_000 }).toEqual(['database slow'])
  expect([await toggles.whyOff(), toggles.allows('read')]).toEqual(['switch_unknown', false])
  expect(flips.at(-1)).toEqual({ off: true, because: ['database slow'] })
  // a file that is there is a switch that somebody has turned, whatever else cannot be known
  files = [{ path: '/data/fed_disable', isThere: true }]
  expect(await toggles.whyOff()).toBe('killed')
  files = [{ path: '/data/fed_disable', isThere: false }]
  expect(await toggles.because()).toEqual(['/data/fed_disable cannot be looked at', 'database slow'])
  await expect(toggles.set('kill', false, owner)).rejects.toThrow('cannot be known')
  files = []
  done.resolve()
  await slow
  await expect.poll(() => toggles.whyOff(), { timeout: 20_000 }).toBeUndefined()
})

test('a switch that was removed by hand could not be turned: the database keeps it', async () => {
  await expect(db.sql`delete from federation_toggles where name = 'kill'`).rejects.toThrow('stay')
})
