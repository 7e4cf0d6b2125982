import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { type TestDatabase, testDatabase } from '#testkit'
import type { Tx } from './client.ts'
import { bigints, numbers, texts } from './column.ts'
import type { Statement } from './connection.ts'
import { GroupCommit, type Outcome, part, type Stage } from './group-commit.ts'
import { storageLimits } from './limits.ts'

/** A small ledger: a payment is refused (1) when its account would go below zero, and remembered by its id. */
interface Payment {
  readonly id: string
  readonly account: number
  readonly amount: number
}
const payments: Stage<Payment> = {
  name: 'payments',
  async apply(tx: Tx, elements) {
    const [row] = await tx<{ codes: number[] }[]>`
      select pay(${texts(elements.map((p) => p.id))}::text[], ${numbers(elements.map((p) => p.account))}::int[],
                 ${bigints(elements.map((p) => p.amount))}::bigint[]) as codes`
    return row?.codes ?? []
  },
}

/** Names are given once: 7 when another has it. `!` in a name breaks the statement. */
interface Name {
  readonly id: string
  readonly name: string
}
const names: Stage<Name> = {
  name: 'names',
  async apply(tx: Tx, elements) {
    const ids = texts(elements.map((n) => n.id))
    const wanted = texts(elements.map((n) => n.name))
    const rows = await tx<{ ok: boolean }[]>`
      with wish as (select * from unnest(${ids}::text[], ${wanted}::text[]) with ordinality u(id, name, at)),
           firsts as (select distinct on (name) id, name from wish order by name, at),
           added as (insert into name (name, owner) select name, id from firsts on conflict do nothing returning name, owner)
      select coalesce(a.owner, n.owner) = w.id as ok
        from wish w left join added a on a.name = w.name left join name n on n.name = w.name order by w.at`
    return rows.map((row) => (row.ok ? 0 : 7))
  },
}

/** Lines are always taken; `!` breaks the statement, `?` breaks us before there is one. */
interface Line {
  readonly id: string
  readonly line: string
}
const lines: Stage<Line> = {
  name: 'lines',
  alwaysApplies: true,
  async apply(tx: Tx, elements) {
    if (elements.some(({ line }) => line.includes('?'))) throw new TypeError('our own mistake')
    await tx`insert into line select * from unnest(${texts(elements.map((l) => l.id))}::text[],
      ${texts(elements.map((l) => l.line))}::text[]) on conflict do nothing`
    return elements.map(() => 0)
  },
}
/** The same, another table. */
const marks: Stage<string> = {
  name: 'marks',
  alwaysApplies: true,
  async apply(tx: Tx, ids) {
    await tx`insert into mark select * from unnest(${texts(ids)}::text[]) on conflict do nothing`
    return ids.map(() => 0)
  },
}

/** A running total in one row: asks, counts, and leaves its statement to the commit. 9 for names with `#`. */
const totals: Stage<string> = {
  name: 'totals',
  asksOnce: true,
  async apply(tx, ids, atCommit, decided) {
    const [row] = await tx<{ n: number; known: string[] }[]>`
      select (select n from total for update) as n,
             array(select id from counted where id = any(${texts(ids)}::text[])) as known`
    const wanted = await decided
    const fresh = ids.filter((id, n) => wanted(n) && !id.includes('#') && !row?.known.includes(id))
    if (fresh.length > 0) {
      const n = (row?.n ?? 0) + fresh.length
      atCommit(async (to) => {
        await to`with c as (insert into counted select * from unnest(${texts(fresh)}::text[])) update total set n = ${n}`
      })
    }
    return ids.map((id) => (id.includes('#') ? 9 : 0))
  },
}

let db: TestDatabase
const stages = [payments, names, lines, marks]
const open = () => new GroupCommit({ database: db.database, runtime: systemRuntime, stages })

beforeAll(async () => {
  db = await testDatabase()
  await db.sql.unsafe(`
    create table account (id int primary key, balance bigint not null check (balance >= 0));
    create table payment (id text primary key, account int not null, amount bigint not null);
    create table line (id text primary key, line text not null check (line !~ '!'));
    create table mark (id text primary key);
    create table total (n int not null);
    create table counted (id text primary key check (id !~ '!'));
    create table name (name text primary key check (name !~ '!'), owner text not null);
    create function pay(ids text[], accounts int[], amounts bigint[]) returns smallint[] language plpgsql as $$
    declare codes smallint[] := array_fill(0::smallint, array[cardinality(ids)]);
    begin
      for i in 1..cardinality(ids) loop
        if exists (select from payment where id = ids[i]) then continue; end if;
        update account set balance = balance + amounts[i] where id = accounts[i] and balance + amounts[i] >= 0;
        if not found then codes[i] := 1; continue; end if;
        insert into payment values (ids[i], accounts[i], amounts[i]);
      end loop;
      return codes;
    end $$;`)
})
beforeEach(async () => {
  await db.sql.unsafe(
    'truncate account, payment, name, line, mark, total, counted; insert into total values (0); insert into account select i, 100 from generate_series(1, 3) i',
  )
})
afterAll(() => db.drop())

interface Wish {
  readonly account: number
  readonly amount: number
  readonly name: string | undefined
}
const operation = (id: string, { account, amount, name }: Wish) => [
  part(payments, { id, account, amount }),
  ...(name === undefined ? [] : [part(names, { id, name })]),
]

async function stateOfTables(): Promise<unknown> {
  const accounts = await db.sql`select * from account order by id`
  const paid = await db.sql`select * from payment order by id`
  const named = await db.sql`select * from name order by name`
  return { accounts: [...accounts], paid: [...paid], named: [...named] }
}

/** The same rules in three lines, one operation after the other. */
function sequential(wishes: readonly Wish[]): { outcomes: Outcome[]; balances: number[] } {
  const balances = [0, 100, 100, 100]
  const taken = new Set<string>()
  const outcomes = wishes.map(({ account, amount, name }): Outcome => {
    if ((balances[account] ?? 0) + amount < 0) return { applied: false, stage: 'payments', code: 1 }
    if (name !== undefined && taken.has(name)) return { applied: false, stage: 'names', code: 7 }
    balances[account] = (balances[account] ?? 0) + amount
    if (name !== undefined) taken.add(name)
    return { applied: true }
  })
  return { outcomes, balances: balances.slice(1) }
}

describe('a flush', () => {
  test('of many operations gives what they give one after the other', async () => {
    const wish = fc.record({
      account: fc.integer({ min: 1, max: 3 }),
      amount: fc.integer({ min: -60, max: 40 }),
      name: fc.constant(undefined),
    })
    await fc.assert(
      fc
        .asyncProperty(fc.array(wish, { minLength: 1, maxLength: 40 }), async (wishes) => {
          await using commit = open()
          const outcomes = await Promise.all(wishes.map((w, i) => commit.submit(operation(`p${i}`, w))))
          const model = sequential(wishes)
          expect(outcomes).toEqual(model.outcomes)
          const rows = await db.sql<{ balance: bigint }[]>`select balance from account order by id`
          expect(rows.map((row) => Number(row.balance))).toEqual(model.balances)
        })
        .beforeEach(async () => {
          await db.sql.unsafe(
            'truncate account, payment; insert into account select i, 100 from generate_series(1, 3) i',
          )
        }),
      { numRuns: 60 },
    )
  })

  test('applies all of an operation or nothing, whichever stage refuses it', async () => {
    const wish = fc.record({
      account: fc.integer({ min: 1, max: 3 }),
      amount: fc.integer({ min: -60, max: 40 }),
      name: fc.option(fc.constantFrom('a', 'b', 'c', 'd'), { nil: undefined }),
    })
    await fc.assert(
      fc
        .asyncProperty(fc.array(wish, { minLength: 1, maxLength: 40 }), async (wishes) => {
          await using commit = open()
          const outcomes = await Promise.all(wishes.map((w, i) => commit.submit(operation(`p${i}`, w))))
          const accepted = wishes.filter((_, i) => outcomes[i]?.applied)
          const paid = await db.sql<{ id: string }[]>`select id from payment`
          const applied = outcomes.flatMap((outcome, i) => (outcome.applied ? [`p${i}`] : []))
          expect(paid.map((row) => row.id).sort()).toEqual(applied.sort())
          const named = await db.sql<{ owner: string }[]>`select owner from name`
          expect(named).toHaveLength(accepted.filter((w) => w.name !== undefined).length)
          for (const { owner } of named) expect(applied).toContain(owner)
          const [sum] = await db.sql<{ total: bigint }[]>`select sum(balance) as total from account`
          expect(Number(sum?.total)).toBe(300 + accepted.reduce((total, w) => total + w.amount, 0))
        })
        .beforeEach(async () => {
          await db.sql.unsafe(
            'truncate account, payment, name; insert into account select i, 100 from generate_series(1, 3) i',
          )
        }),
      { numRuns: 60 },
    )
  })

  test('tells a refused operation which stage refused it and why', async () => {
    await using commit = open()
    const [poor, first, second] = await Promise.all([
      commit.submit(operation('p1', { account: 1, amount: -101, name: 'x' })),
      commit.submit(operation('p2', { account: 1, amount: -100, name: 'y' })),
      commit.submit(operation('p3', { account: 2, amount: -100, name: 'y' })),
    ])
    expect(poor).toEqual({ applied: false, stage: 'payments', code: 1 })
    expect([first, second]).toContainEqual({ applied: true })
    expect([first, second]).toContainEqual({ applied: false, stage: 'names', code: 7 })
  })

  test('that one element breaks rejects that operation and applies the others', async () => {
    await using commit = open()
    const answers = await Promise.allSettled(
      ['a', 'b!', 'c', 'd'].map((name, i) => commit.submit(operation(`p${i}`, { account: 1, amount: 1, name }))),
    )
    expect(answers.map((answer) => answer.status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
    const state = await stateOfTables()
    expect(state).toMatchObject({ named: [{ owner: 'p0' }, { owner: 'p2' }, { owner: 'p3' }] })
  })

  test('whose last stages travel with the commit is all or nothing, too', async () => {
    await using commit = open()
    const answers = await Promise.allSettled(
      ['a', 'b!', 'c?', 'd'].flatMap((line, i) => [
        commit.submit([part(lines, { id: `l${i}`, line }), part(marks, `m${i}`)]),
        commit.submit([
          part(payments, { id: `p${i}`, account: 1, amount: -30 }),
          part(lines, { id: `n${i}`, line }),
          part(marks, `o${i}`),
        ]),
      ]),
    )
    expect(answers.map((answer) => answer.status[0])).toEqual(['f', 'f', 'r', 'r', 'r', 'r', 'f', 'f'])
    expect((await db.sql<{ id: string }[]>`select id from line order by id`).map(({ id }) => id)).toEqual([
      'l0',
      'l3',
      'n0',
      'n3',
    ])
    expect((await db.sql<{ id: string }[]>`select id from mark order by id`).map(({ id }) => id)).toEqual([
      'm0',
      'm3',
      'o0',
      'o3',
    ])
    expect(await db.sql`select balance from account where id = 1`).toEqual([{ balance: 40n }])
  })

  describe('with stages that always apply in its middle and a last one in two halves', () => {
    /** What each stage sent and heard, in order. */
    let course: string[] = []
    const watched = <E>(stage: Stage<E>): Stage<E> => ({
      ...stage,
      async apply(tx, elements, atCommit, decided, writer) {
        course.push(`${stage.name} sent`)
        const leave = (statement: Statement) => {
          atCommit((to) => {
            course.push(`${stage.name} sent its last`)
            return statement(to)
          })
        }
        const codes = await stage.apply(tx, elements, leave, decided, writer)
        course.push(`${stage.name} heard`)
        return codes
      },
    })
    const [p, l, m, t] = [watched(payments), watched(lines), watched(marks), watched(totals)]
    const openWatched = () =>
      new GroupCommit({ database: db.database, runtime: systemRuntime, stages: [p, l, m, t] as Stage<never>[] })
    const whole = (id: string, amount = 1) => [
      part(p, { id, account: 1, amount }),
      part(l, { id, line: 'text' }),
      part(m, id),
      part(t, id),
    ]
    const counted = async () => (await db.sql<{ id: string }[]>`select id from counted order by id`).map(({ id }) => id)
    beforeEach(() => {
      course = []
    })

    test('waits three times: for the payments, for the last question, for the commit', async () => {
      await using commit = openWatched()
      await Promise.all(['a', 'b', 'c'].map((id) => commit.submit(whole(id))))
      const asked = ['payments sent', 'payments heard', 'totals sent', 'totals heard']
      expect(course.slice(0, 7)).toEqual([...asked, 'lines sent', 'marks sent', 'totals sent its last'])
      expect(course.slice(7).sort()).toEqual(['lines heard', 'marks heard'])
      expect(await counted()).toEqual(['a', 'b', 'c'])
      expect(await db.sql`select n from total`).toEqual([{ n: 3 }])
    })

    test('applies all of an operation or nothing, whoever refuses or breaks', async () => {
      await using commit = openWatched()
      const answers = await Promise.allSettled([
        commit.submit(whole('a')),
        commit.submit(whole('poor', -1_000)),
        commit.submit(whole('b#')),
        commit.submit(whole('c!')),
        commit.submit([part(l, { id: 'd', line: '!' }), part(t, 'd')]),
        commit.submit([part(l, { id: 'e', line: '?' }), part(t, 'e')]),
        commit.submit([part(t, 'alone#')]),
        commit.submit(whole('f')),
      ])
      expect(answers.map((one) => (one.status === 'fulfilled' ? one.value : 'broken'))).toEqual([
        { applied: true },
        { applied: false, stage: 'payments', code: 1 },
        { applied: false, stage: 'totals', code: 9 },
        'broken',
        'broken',
        'broken',
        { applied: false, stage: 'totals', code: 9 },
        { applied: true },
      ])
      expect(await counted()).toEqual(['a', 'f'])
      expect(await db.sql`select n from total`).toEqual([{ n: 2 }])
      expect(await db.sql`select id from mark order by id`).toEqual([{ id: 'a' }, { id: 'f' }])
      expect(await db.sql`select balance from account where id = 1`).toEqual([{ balance: 102n }])
    })
  })

  describe('with stages that are asked ahead of the verdicts before them', () => {
    let course: string[] = []
    const watched = <E>(stage: Stage<E>): Stage<E> => ({
      ...stage,
      async apply(tx, elements, atCommit, decided, writer) {
        course.push(`${stage.name} sent`)
        const codes = await stage.apply(tx, elements, atCommit, decided, writer)
        course.push(`${stage.name} heard`)
        return codes
      },
    })
    const p = watched<Payment>({ ...payments, asksOnce: true })
    const n = watched<Name>({ ...names, asksOnce: true, ahead: 'writes' })
    const t = watched<string>({ ...totals, ahead: 'reads' })
    const openAhead = () =>
      new GroupCommit({ database: db.database, runtime: systemRuntime, stages: [p, n, t, marks] as Stage<never>[] })
    const whole = (id: string, amount = 1, name = `of ${id}`) => [
      part(p, { id, account: 1, amount }),
      part(n, { id, name }),
      part(t, id),
      part(marks, id),
    ]

    test('asks all of them at once', async () => {
      course = []
      await using commit = openAhead()
      await Promise.all(['a', 'b'].map((id) => commit.submit(whole(id))))
      expect(course.slice(0, 3)).toEqual(['payments sent', 'names sent', 'totals sent'])
      expect(await db.sql`select n from total`).toEqual([{ n: 2 }])
    })

    test('leaves nothing behind of what any of them refuses or breaks on', async () => {
      await using commit = openAhead()
      const answers = await Promise.allSettled([
        commit.submit(whole('a')),
        commit.submit(whole('poor', -1_000)),
        commit.submit(whole('late', 1, 'of a')),
        commit.submit(whole('both', -1_000, 'of a')),
        commit.submit(whole('b#')),
        commit.submit(whole('c', 1, '!')),
        commit.submit([part(p, { id: 'alone', account: 1, amount: -1_000 }), part(t, 'alone'), part(marks, 'alone')]),
        commit.submit(whole('f')),
      ])
      expect(answers.map((one) => (one.status === 'fulfilled' ? one.value : 'broken'))).toEqual([
        { applied: true },
        { applied: false, stage: 'payments', code: 1 },
        { applied: false, stage: 'names', code: 7 },
        { applied: false, stage: 'payments', code: 1 },
        { applied: false, stage: 'totals', code: 9 },
        'broken',
        { applied: false, stage: 'payments', code: 1 },
        { applied: true },
      ])
      const ids = (rows: readonly { id: string }[]) => rows.map(({ id }) => id)
      expect(ids(await db.sql<{ id: string }[]>`select id from counted order by id`)).toEqual(['a', 'f'])
      expect(ids(await db.sql<{ id: string }[]>`select id from mark order by id`)).toEqual(['a', 'f'])
      expect(await db.sql`select owner as id from name order by owner`).toEqual([{ id: 'a' }, { id: 'f' }])
      expect(await db.sql`select balance from account where id = 1`).toEqual([{ balance: 102n }])
    })
  })

  test('of one statement that one element breaks applies the others', async () => {
    await using commit = open()
    const answers = await Promise.allSettled(
      ['a', 'b!', 'c'].map((line, i) => commit.submit([part(lines, { id: `l${i}`, line })])),
    )
    expect(answers.map((answer) => answer.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(await db.sql`select id from line order by id`).toEqual([{ id: 'l0' }, { id: 'l2' }])
  })

  test('leaves out the later parts of an operation that was refused', async () => {
    await using commit = open()
    await Promise.all(
      [-101, -100].map((amount, i) =>
        commit.submit([part(payments, { id: `p${i}`, account: 1, amount }), part(marks, `m${i}`)]),
      ),
    )
    expect(await db.sql`select id from mark`).toEqual([{ id: 'm1' }])
  })

  test('sent again with the same ids changes nothing', async () => {
    await using commit = open()
    const wishes = Array.from({ length: 50 }, (_, i) => operation(`p${i}`, { account: 1, amount: -1, name: `n${i}` }))
    const first = await Promise.all(wishes.map((w) => commit.submit(w)))
    const state = await stateOfTables()
    const again = await Promise.all(wishes.map((w) => commit.submit(w)))
    expect(again).toEqual(first)
    expect(await stateOfTables()).toEqual(state)
  })

  test('takes what arrived while the one before was on its way', async () => {
    const sizes: number[] = []
    await using commit = new GroupCommit({
      database: db.database,
      runtime: systemRuntime,
      stages,
      onFlush: ({ operations }) => sizes.push(operations),
    })
    await Promise.all(
      Array.from({ length: 3_000 }, (_, i) =>
        commit.submit(operation(`p${i}`, { account: 1, amount: 1, name: undefined })),
      ),
    )
    expect(sizes).toEqual([1_024, 1_024, 952])
  })

  test('is refused when too many wait, and when the pool is stopping', async () => {
    const commit = open()
    const waiting = Array.from({ length: storageLimits.waitingOperationsMax }, () => commit.submit([]))
    await expect(commit.submit([])).rejects.toMatchObject({ refusal: { code: 'overloaded' } })
    const stopped = commit.stop()
    await expect(commit.submit([])).rejects.toMatchObject({ refusal: { code: 'shutting_down' } })
    await stopped
    expect(await Promise.all(waiting)).toHaveLength(storageLimits.waitingOperationsMax)
  })
})

describe('a write that nobody waits for', () => {
  test('travels with the next one that somebody does', async () => {
    const flushes: number[] = []
    const onFlush = ({ operations }: { operations: number }) => flushes.push(operations)
    const stages = [payments, names, lines] as const
    await using commit = new GroupCommit({ database: db.database, runtime: systemRuntime, stages, onFlush })
    const patient = [1, 2, 3].map((n) => commit.submit([part(lines, { id: `p${n}`, line: 'x' })], 60_000))
    await systemRuntime.sleep(50)
    expect(flushes).toEqual([])
    await commit.submit([part(lines, { id: 'p4', line: 'x' })])
    await Promise.all(patient)
    expect(flushes).toEqual([4])
  })

  test('is written by itself when its time is over, and at once when the pool stops', async () => {
    const stages = [payments, names, lines] as const
    const commit = new GroupCommit({ database: db.database, runtime: systemRuntime, stages })
    expect(await commit.submit([part(lines, { id: 'p5', line: 'x' })], 20)).toEqual({ applied: true })
    const last = commit.submit([part(lines, { id: 'p6', line: 'x' })], 60_000)
    await commit.stop()
    expect(await last).toEqual({ applied: true })
  })
})

test('a pool whose writes fail knows it, and is well again with the first one that does not', async () => {
  let full = true
  const disk: Stage<string> = {
    name: 'disk',
    alwaysApplies: true,
    async apply(tx: Tx, ids) {
      if (full) await tx.unsafe(`do $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$`)
      return ids.map(() => 0)
    },
  }
  await using commit = new GroupCommit({ database: db.database, runtime: systemRuntime, stages: [disk] })
  expect(commit.stalled).toBe(false)
  const written = commit.submit([part(disk, 'a')])
  await expect.poll(() => commit.stalled).toBe(true)
  await expect.poll(() => commit.stalledForMs).toBeGreaterThan(100)
  full = false
  expect(await written).toEqual({ applied: true })
  expect(commit.stalled).toBe(false)
  expect(commit.stalledForMs).toBe(0)
})
