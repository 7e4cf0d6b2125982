import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { openDatabase } from '#storage'
import { type TestDatabase, testDatabase } from '../testkit/index.ts'
import { somebodyWaits } from '../testkit/somebody-waits.ts'
import type { Acts } from './acts.ts'
import { DueActs } from './due-acts.ts'
import { Standings } from './standings.ts'
import type { Tribunals } from './tribunals.ts'

let db: TestDatabase
let standings: Standings
beforeAll(async () => {
  db = await testDatabase()
  standings = await Standings.open({ database: db.database, runtime: systemRuntime })
})
afterAll(async () => {
  standings[Symbol.dispose]()
  await db.drop()
})

const [ann, bob] = ['a'.repeat(64), 'b'.repeat(64)]
const done: string[] = []
const doing = (what: string) => async (about: { workerId: string }) => {
  done.push(`${what} ${about.workerId[0]}`)
}
const acts: Partial<Acts> = {
  slash: doing('slash'),
  blockOperator: doing('block'),
  refundUsers: doing('refund'),
  payBack: doing('pay back'),
}

const convict = (workerId: string) =>
  db.database.transaction((tx) =>
    standings.decide(tx, { workerId, model: 'm', duty: 'serve' }, { kind: 'refuted' }, 't'),
  )
const clerkWith = (tribunals: Partial<Tribunals>) =>
  new DueActs({
    database: db.database,
    runtime: systemRuntime,
    standings,
    acts: acts as Acts,
    tribunals: tribunals as Tribunals,
  })

test('nobody’s slash waits for the last looks at another, and users are paid after the looks at their worker', async () => {
  await convict(ann)
  await convict(bob)
  const clerk = clerkWith({ recheckWindow: doing('look') })
  while (await clerk.carryOut());
  expect(done.splice(0)).toEqual([
    'slash a',
    'block a',
    'slash b',
    'block b',
    'look a',
    'refund a',
    'look b',
    'refund b',
  ])
})

test('what an admin forestalls while something else is carried out is not done any more, but for money that is due to the worker', async () => {
  await db.database.transaction((tx) => standings.reset(tx, ann))
  await convict(ann)
  await db.sql`
    insert into standing_acts (id, worker_id, model, duty, act, because, decided_at, step)
    values (${systemRuntime.uuid()}, ${ann}, '*', 'serve', 'pay_back', 'an appeal', now() + interval '1 hour', 0)`
  acts.slash = async (about) => {
    await doing('slash')(about)
    await db.database.transaction((tx) => standings.reset(tx, about.workerId))
  }
  const clerk = clerkWith({ recheckWindow: doing('look') })
  while (await clerk.carryOut());
  expect(done).toEqual(['slash a', 'pay back a'])
})

test('two processes that come to one act at the same time do it once', async () => {
  await using second = await openDatabase({ target: db.target, runtime: systemRuntime })
  await db.database.transaction((tx) => standings.reset(tx, ann))
  await convict(ann)
  done.length = 0
  const slash = doing('slash')
  acts.slash = async (about) => {
    await slash(about)
    await somebodyWaits(db.sql)
  }
  acts.blockOperator = doing('block')
  const tribunals = { recheckWindow: doing('look') } as Partial<Tribunals> as Tribunals
  const clerks = [db.database, second].map(
    (database) => new DueActs({ database, runtime: systemRuntime, standings, acts: acts as Acts, tribunals }),
  )
  await Promise.all(clerks.map((clerk) => clerk.carryOut()))
  expect(done.filter((what) => what !== 'look a')).toEqual(['slash a', 'block a'])
})
