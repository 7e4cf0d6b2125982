import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import { canReach, isFinal, type JobState, jobStates, moved } from './job-states.ts'

let home: TestDatabase
beforeAll(async () => {
  home = await testDatabase()
})
afterAll(() => home.drop())

const pairs = jobStates.flatMap((from) => jobStates.map((to) => [from, to] as const))

/** A row in this state, by legal moves. */
async function jobIn(state: JobState): Promise<string> {
  const id = randomUUID()
  await home.sql`
    insert into jobs (id, instance, kind, key_id, model, choices, max_tokens, streamed, accepted_at, deadline_at)
    values (${id}, ${randomUUID()}, 'chat', 'k', 'moss', 1, 1, true, now(), now())`
  if (state !== 'queued') await move(id, state)
  return id
}

const move = (id: string, state: JobState) =>
  home.sql`update jobs set state = ${state}, ended_at = ${isFinal(state) ? home.sql`now()` : null} where id = ${id}`

test('a move that the picture does not have is our bug and throws', () => {
  expect(moved('queued', 'leased')).toBe('leased')
  expect(() => moved('queued', 'streaming')).toThrow('from queued to streaming')
  expect(() => moved('completed', 'cancelled')).toThrow('from completed to cancelled')
})

test('the database allows exactly what the picture can reach', async () => {
  const wrong: string[] = []
  for (const [from, to] of pairs) {
    const id = await jobIn(from)
    const allowed = await move(id, to).then(
      () => true,
      () => false,
    )
    // A row that stays where it is and is not final may be written again: a batch that was sent twice.
    const right = canReach(from, to) || (from === to && !isFinal(from))
    if (allowed !== right) wrong.push(`${from} to ${to} is ${allowed ? 'allowed' : 'refused'}`)
  }
  expect(wrong).toEqual([])
})

test('what is over is history: not even its counts change', async () => {
  const id = await jobIn('completed')
  await expect(home.sql`update jobs set completion_tokens = 1 where id = ${id}`).rejects.toThrow('does not go')
})

test('a job that ended has an end, and one that did not has none', async () => {
  const id = await jobIn('leased')
  await expect(home.sql`update jobs set state = 'completed' where id = ${id}`).rejects.toThrow('an_ended_job_is_final')
  await expect(home.sql`update jobs set ended_at = now() where id = ${id}`).rejects.toThrow('an_ended_job_is_final')
})
