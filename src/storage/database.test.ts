import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemRuntime as runtime } from '#runtime'
import { type TestDatabase, testDatabase } from '#testkit'
import { parseAddress } from './address.ts'
import { openClient } from './client.ts'
import { bigints, booleans, bytes, numbers, texts, uuids } from './column.ts'
import { BatchLoader, openDatabase } from './index.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
})
afterAll(() => db.drop())

describe('values', () => {
  test('come back as they went: big numbers, times in milliseconds, bytes', async () => {
    const now = runtime.now()
    const big = 2n ** 62n
    const raw = Buffer.from([0, 255, 10])
    const [row] = await db.sql`select ${big}::bigint as big, ${now}::timestamptz as now, ${raw}::bytea as raw`
    expect(row).toEqual({ big, now, raw })
  })

  test('travel in columns, whatever is in them', async () => {
    const odd = ['plain', '', 'NULL', 'null', 'a,b', '{"x":"\\\\"}', "it's", 'é✓', ' ', 'a\nb', null]
    const ids = [runtime.uuid(), runtime.uuid()]
    const [row] = await db.sql`
      select ${texts(odd)}::text[] as odd, ${uuids(ids)}::uuid[] as ids, ${numbers([1, null, -2.5])}::float8[] as numbers,
             ${bigints([2n ** 62n, 5, null])}::bigint[] as bigs, ${booleans([true, false, null])}::bool[] as flags,
             ${bytes([Buffer.from('ab'), null, Buffer.alloc(0)])}::bytea[] as raw, ${texts([])}::text[] as none,
             ${odd as string[]}::text[] as plain, ${[1, 2]}::int[] as ints, array[to_timestamp(1.5)] as times`
    expect(row).toEqual({
      odd,
      ids,
      numbers: [1, null, -2.5],
      bigs: [2n ** 62n, 5n, null],
      flags: [true, false, null],
      raw: [Buffer.from('ab'), null, Buffer.alloc(0)],
      none: [],
      plain: odd,
      ints: [1, 2],
      times: [1_500],
    })
  })
})

test('a query that was answered or refused keeps nothing of what was sent', async () => {
  const connection = await db.database.connect()
  try {
    for (const divisor of [1, 0]) {
      const query = connection.tx`select ${'canary'}::text as said, 1 / ${divisor}::int as n`
      await query.catch(() => {})
      expect(query).toMatchObject({ args: undefined, parameters: undefined, string: undefined, signature: undefined })
    }
  } finally {
    await connection.close()
  }
})

describe('a transaction', () => {
  test('is undone by what is thrown in it', async () => {
    await db.sql`create table kept (n int)`
    const failing = db.database.transaction(async (tx) => {
      await tx`insert into kept values (1)`
      throw new Error('changed my mind')
    })
    await expect(failing).rejects.toThrow('changed my mind')
    expect(await db.sql`select * from kept`).toEqual([])
    expect(await db.database.transaction((tx) => tx`select 1 as n`)).toEqual([{ n: 1 }])
  })

  test('cut off by the administrator of the database is run again', async () => {
    let attempts = 0
    await db.database.transaction(async (tx) => {
      const [row] = await tx<{ pid: number }[]>`select pg_backend_pid() as pid`
      await tx`insert into kept values (2)`
      if (attempts++ === 0) await db.sql`select pg_terminate_backend(${row?.pid ?? 0})`
      await tx`select 1`
    })
    expect(attempts).toBe(2)
    expect(await db.sql`select * from kept`).toEqual([{ n: 2 }])
  })
})

describe('a shared connection', () => {
  test('nobody used is closed without a word, and opened again', async () => {
    let lost = 0
    const client = openClient(parseAddress(db.target), {
      max: 2,
      idleMs: 100,
      silentMs: 0,
      statementTimeoutMs: 1_000,
      onLost: () => lost++,
    })
    const name = 'idle in this test'
    await client.sql`select set_config('application_name', ${name}, false)`
    const here = async () => (await db.sql`select pid from pg_stat_activity where application_name = ${name}`).length
    for (let i = 0; i < 200 && (await here()) > 0; i++) await runtime.sleep(20)
    expect(await here()).toBe(0)
    await client.sql`select 1`
    expect(lost).toBe(0)
    await client.close(1_000)
  })

  test('on which nothing moves any more is cut', async () => {
    const limits = { max: 1, idleMs: 0, silentMs: 100, statementTimeoutMs: 60_000 }
    const client = openClient(parseAddress(db.target), limits)
    await expect(client.sql`select pg_sleep(30)`).rejects.toMatchObject({ code: 'ETIMEDOUT' })
    client.destroy()
  })

  test('a statement that takes too long is stopped by the server', async () => {
    await using database = await openDatabase({ target: db.target, runtime, statementTimeoutMs: 50 })
    await expect(database.sql`select pg_sleep(10)`).rejects.toMatchObject({ code: '57014' })
  })
})

describe('look-ups', () => {
  test('asked for while one is on its way become the next one', async () => {
    const batches: number[] = []
    const loader = new BatchLoader<string>(async (keys) => {
      batches.push(keys.length)
      await runtime.sleep(20)
      return new Map(keys.filter((key) => key !== 'none').map((key) => [key, key.toUpperCase()]))
    })
    const first = await Promise.all([loader.get('a'), loader.get('a'), loader.get('none')])
    expect(first).toEqual(['A', 'A', undefined])
    const asked = loader.get('b')
    await runtime.sleep(5)
    const rest = Promise.all(Array.from({ length: 1_500 }, (_, i) => loader.get(`k${i}`)))
    expect([await asked, (await rest).length]).toEqual(['B', 1_500])
    expect(batches).toEqual([2, 1, 1_024, 476])
  })

  test('all fail when the database does, and later ones do not', async () => {
    let down = true
    const loader = new BatchLoader<number>(async (keys) => {
      if (down) throw Object.assign(new Error('gone'), { code: 'ECONNREFUSED' })
      return new Map(keys.map((key) => [key, 1]))
    })
    const answers = await Promise.allSettled([loader.get('a'), loader.get('b')])
    for (const answer of answers)
      expect(answer).toMatchObject({ reason: { refusal: { code: 'database_unavailable' } } })
    down = false
    expect(await loader.get('a')).toBe(1)
  })
})

describe('the address of a database', () => {
  const refused = { refusal: { code: 'config_invalid' } }

  test('is read with its user, password, port and encryption', () => {
    expect(parseAddress({ url: 'postgresql://me:p%40ss@db.example:6432/pool?sslmode=verify-full' })).toEqual({
      host: 'db.example',
      port: 6432,
      user: 'me',
      password: 'p@ss',
      database: 'pool',
      tls: 'verify-full',
    })
    expect(parseAddress({ url: 'postgres://me@[::1]/pool' })).toMatchObject({ host: '::1', port: 5432, tls: 'prefer' })
    expect(parseAddress({ url: 'postgres://me@x/pool?host=/run/postgresql' })).toMatchObject({
      host: '/run/postgresql',
      tls: 'disable',
    })
  })

  test.each([
    'pool',
    'mysql://me@x/pool',
    'postgres://x/pool',
    'postgres://me@x',
    'postgres://me@x/pool?sslmode=maybe',
    'postgres://me@x/pool?options=-c%20fsync=off',
    'postgres://me@x/pool?sslrootcert=/nowhere.pem',
    'postgres://me:100%@x/pool',
    'postgres://me%zz@x/pool',
    'postgres://me@%zz/pool',
    'postgres://me@x/%pool',
    'postgres://me@x/pool?port=abc',
    'postgres://me@x/pool?port=65536',
    'postgres://me@x:0/pool',
  ])('that makes no sense is refused before anything is dialled: %s', (url) => {
    expect(() => parseAddress({ url })).toThrow(expect.objectContaining({ code: 'config_invalid' }))
  })

  test.each(['postgres://me:hunter2@x:bad/pool', 'postgres://me:hunter2%@x/pool'])(
    'never shows its password in a refusal: %s',
    (url) => {
      expect(() => parseAddress({ url })).toThrow(
        expect.objectContaining({ code: 'config_invalid', message: expect.not.stringContaining('hunter2') }),
      )
    },
  )

  test('where nobody answers ends in database_unavailable, a wrong login in config_invalid', async () => {
    const nowhere = openDatabase({ target: { url: 'postgres://me@127.0.0.1:1/pool' }, runtime, waitMs: 10 })
    await expect(nowhere).rejects.toMatchObject({ refusal: { code: 'database_unavailable' } })
    const wrong = openDatabase({ target: { url: db.url.replace(/\/lichen_test_[^?]*/, '/no_such_db') }, runtime })
    await expect(wrong).rejects.toMatchObject(refused)
  })
})
