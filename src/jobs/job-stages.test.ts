import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { GroupCommit, part } from '#storage'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import {
  idempotencyStage,
  type JobRow,
  jobInsertStage,
  jobMoveStage,
  type MoveRow,
  moveCodes,
  type SegmentRow,
  segmentStage,
} from './job-stages.ts'

let home: TestDatabase
let commit: GroupCommit
beforeAll(async () => {
  home = await testDatabase()
  commit = new GroupCommit({
    database: home.database,
    runtime: systemRuntime,
    stages: [jobMoveStage, idempotencyStage, jobInsertStage, segmentStage],
  })
})
afterAll(async () => {
  await commit.stop()
  await home.drop()
})

const now = Date.UTC(2026, 10, 20, 12, 0, 0, 250)
const jobRow = (more: Partial<JobRow> = {}): JobRow => ({
  id: systemRuntime.uuid(),
  instance: randomUUID(),
  kind: 'chat',
  keyId: 'key, "quoted" \\ {braces}',
  model: 'moss:7b/q4@home',
  digest: null,
  choices: 1,
  maxTokens: 100,
  streamed: false,
  acceptedAt: now,
  deadlineAt: now + 600_000,
  ...more,
})
const moveRow = (id: string, state: MoveRow['state'], more: Partial<MoveRow> = {}): MoveRow => ({
  id,
  state,
  digest: null,
  firstTokenAt: null,
  endedAt: null,
  promptTokens: null,
  completionTokens: null,
  code: null,
  ...more,
})
const segmentRow = (jobId: string, more: Partial<SegmentRow> = {}): SegmentRow => ({
  jobId,
  choice: 0,
  attempt: 0,
  lease: randomUUID(),
  workerId: 'a1'.repeat(32),
  digest: null,
  outcome: 'running',
  startedAt: now,
  endedAt: null,
  pieces: 0,
  promptClaim: null,
  completionClaim: null,
  finish: null,
  fault: null,
  code: null,
  signed: false,
  ...more,
})

test('a job is written as it was accepted, to the millisecond, whatever characters its names have', async () => {
  const row = jobRow({ digest: 'd'.repeat(64) })
  expect(await commit.submit([part(jobInsertStage, row)])).toEqual({ applied: true })
  const [read] = await home.sql`select * from jobs where id = ${row.id}`
  expect(read).toMatchObject({
    state: 'queued',
    key_id: row.keyId,
    model: row.model,
    digest: row.digest,
    accepted_at: now,
    deadline_at: now + 600_000,
    streamed: false,
  })
})

test('a flush that is sent twice changes nothing the second time', async () => {
  const row = jobRow()
  const ended = moveRow(row.id, 'completed', { endedAt: now + 5, promptTokens: 3, completionTokens: 4 })
  const segment = segmentRow(row.id, { outcome: 'ended', endedAt: now + 5, pieces: 4 })
  for (let i = 0; i < 2; i++) {
    expect(await commit.submit([part(jobInsertStage, row)])).toEqual({ applied: true })
    expect(await commit.submit([part(jobMoveStage, ended), part(segmentStage, segment)])).toEqual({ applied: true })
  }
  const [read] = await home.sql`select state, ended_at, completion_tokens from jobs where id = ${row.id}`
  expect(read).toMatchObject({ state: 'completed', ended_at: now + 5, completion_tokens: 4 })
})

test('several moves of one job in one flush are one update, the last one', async () => {
  const row = jobRow()
  await commit.submit([part(jobInsertStage, row)])
  const moves = [
    moveRow(row.id, 'leased'),
    moveRow(row.id, 'streaming', { firstTokenAt: now + 1 }),
    moveRow(row.id, 'completed', { firstTokenAt: now + 1, endedAt: now + 2 }),
  ]
  const outcomes = await Promise.all(moves.map((move) => commit.submit([part(jobMoveStage, move)])))
  expect(outcomes.every((outcome) => outcome.applied)).toBe(true)
  const [read] = await home.sql`select state, first_token_at from jobs where id = ${row.id}`
  expect(read).toMatchObject({ state: 'completed', first_token_at: now + 1 })
})

test('an outcome that comes too late is refused, and nothing of it is written', async () => {
  const row = jobRow()
  await commit.submit([part(jobInsertStage, row)])
  await commit.submit([part(jobMoveStage, moveRow(row.id, 'interrupted', { endedAt: now }))])
  const late = [
    part(jobMoveStage, moveRow(row.id, 'completed', { endedAt: now })),
    part(segmentStage, segmentRow(row.id)),
  ]
  expect(await commit.submit(late)).toEqual({ applied: false, stage: 'job_moves', code: moveCodes.endedOtherwise })
  expect(await home.sql`select 1 from segments where job_id = ${row.id}`).toHaveLength(0)
})

test('a move of a job that was never accepted is refused', async () => {
  const outcome = await commit.submit([part(jobMoveStage, moveRow(randomUUID(), 'failed', { endedAt: now }))])
  expect(outcome).toMatchObject({ applied: false, code: moveCodes.unknownJob })
})

test('a segment is written when it begins and when it ends, and then never again', async () => {
  const row = jobRow()
  await commit.submit([part(jobInsertStage, row)])
  const running = segmentRow(row.id)
  const ended = { ...running, outcome: 'ended' as const, endedAt: now + 9, pieces: 7, completionClaim: 4_000_000_000 }
  await commit.submit([part(segmentStage, running)])
  await commit.submit([part(segmentStage, ended)])
  await commit.submit([part(segmentStage, { ...running, outcome: 'lost', endedAt: now + 10 })])
  const [read] =
    await home.sql`select outcome, pieces, ended_at, completion_claim from segments where job_id = ${row.id}`
  expect(read).toMatchObject({ outcome: 'ended', pieces: 7, ended_at: now + 9, completion_claim: 4_000_000_000n })
})

test('one idempotency key has one job, until that job failed or a day went by', async () => {
  const keyMac = randomBytes(32)
  const ask = async (createdAt: number) => {
    const row = jobRow({ acceptedAt: createdAt })
    const key = { keyId: 'alice', keyMac, bodyMac: randomBytes(32), jobId: row.id, createdAt }
    const outcome = await commit.submit([part(idempotencyStage, key), part(jobInsertStage, row)])
    return outcome.applied ? row.id : undefined
  }
  const [first, second] = await Promise.all([ask(now), ask(now)])
  expect([first !== undefined, second]).toEqual([true, undefined])
  await commit.submit([part(jobMoveStage, moveRow(first ?? '', 'failed', { endedAt: now }))])
  const third = await ask(now + 1)
  expect(third).toBeDefined()
  expect(await ask(now + 2)).toBeUndefined()
  expect(await ask(now + 86_400_000 + 2)).toBeDefined()
})

test('looking a job up stays cheap although its plan was made when the table was empty', async () => {
  // PostgreSQL keeps a plan from the sixth call on.
  const lease = (id: string, attempt: number) =>
    commit.submit([part(jobMoveStage, moveRow(id, 'leased')), part(segmentStage, segmentRow(id, { attempt }))])
  const first = jobRow()
  await commit.submit([part(jobInsertStage, first)])
  for (let i = 0; i < 10; i++) await lease(first.id, i)
  const rows = Array.from({ length: 5_000 }, () => jobRow())
  await Promise.all(rows.map((row) => commit.submit([part(jobInsertStage, row)])))
  const before = await scans()
  for (const row of rows.slice(0, 20)) await lease(row.id, 0)
  expect((await scans()) - before).toBe(0)
})

/**
 * Looks at many rows so far: sequential scans of the table, and scans of the index of open jobs, which is full of dead
 * entries under load. A backend reports what it did at the end of a transaction, once a second.
 */
async function scans(): Promise<number> {
  await systemRuntime.sleep(1_100)
  await commit.submit([part(jobMoveStage, moveRow(randomUUID(), 'leased'))])
  const [row] = await home.sql<{ n: number }[]>`
    select (select seq_scan from pg_stat_user_tables where relname = 'jobs')::int
         + (select idx_scan from pg_stat_user_indexes where indexrelname = 'jobs_open')::int as n`
  return row?.n ?? 0
}
