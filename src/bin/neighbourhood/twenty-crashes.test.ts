import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { verifyReceipt } from '#protocol'
import { systemRuntime } from '#runtime'
import { openDatabase, runningPostgres } from '#storage'
import { eventually, Neighbourhood, processTree } from '#testkit'

const town = new Neighbourhood()
beforeAll(() => town.start('up'))
afterAll(() => town[Symbol.asyncDispose]())

/** A request that was acknowledged: its receipt's id, and the answer when all of it came. */
interface Acknowledged {
  readonly id: string
  readonly response: Buffer | undefined
}

const acknowledged: Acknowledged[] = []

async function ask(content: string): Promise<boolean> {
  const body = { model: 'lichen-demo', messages: [{ role: 'user', content }], temperature: 0, max_tokens: 60 }
  const answer = await fetch(`${town.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${town.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(30_000),
  }).catch(() => undefined)
  if (answer?.status !== 200) return false
  const id = answer.headers.get('x-lichen-receipt')
  if (!id) throw new Error('an answer without the id of its receipt')
  const response = await answer.arrayBuffer().then(
    (bytes) => Buffer.from(bytes),
    () => undefined,
  )
  acknowledged.push({ id, response })
  return response !== undefined
}

/** Clients that ask one thing after the other until they are told to stop. */
function startLoad(clients: number): { stop(): Promise<void> } {
  let going = true
  const asking = Array.from({ length: clients }, async (_, n) => {
    while (going) if (!(await ask(n % 3 === 0 ? 'tell me about lichen' : `${n}+2=?`))) await systemRuntime.sleep(50)
  })
  return {
    async stop() {
      going = false
      await Promise.all(asking)
    },
  }
}

function postmaster(): number {
  const found = processTree(town.pool?.pid ?? 0).find((pid) => {
    try {
      return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'postgres'
    } catch {
      return false
    }
  })
  if (!found) throw new Error('there is no database server')
  return found
}

test('killed twenty times under load, the pool or its database: nothing acknowledged is lost, nothing is paid twice', async () => {
  for (let round = 0; round < 20; round++) {
    const before = acknowledged.length
    const load = startLoad(8)
    await eventually('answers', () => acknowledged.length >= before + 4)
    if (round % 2 === 0) {
      const pool = town.pool
      pool?.signal('SIGKILL')
      await pool?.ended
      await load.stop()
      await town.start('up')
    } else {
      process.kill(postmaster(), 'SIGKILL')
      await load.stop()
    }
    await eventually('an answer after the crash', () => ask('1+1=?'))
  }
  expect(acknowledged.length).toBeGreaterThan(100)
  await everyHoldResolved()
  await everyReceiptVerifies()
  const audit = await town.cli('audit', '--json')
  expect(audit.err).toBe('')
  expect(audit.json).toMatchObject({ ok: true })
}, 300_000)

async function everyHoldResolved(): Promise<void> {
  // a server of the killed one may have answered last
  const target = await eventually('the database to run', () => runningPostgres(town.dataDir))
  await using database = await openDatabase({ target, runtime: systemRuntime })
  await eventually('every hold to be resolved', async () => {
    const [row] = await database.sql<{ open: bigint }[]>`select count(*) as open from holds`
    return row?.open === 0n
  })
  const odd = await database.sql`
    select h.id from transfers h left join transfers r on r.hold = h.id
     where h.phase = 'pending' group by h.id having count(r.id) <> 1`
  expect(odd).toEqual([])
  const twice = await database.sql`
    select l.ref from log_leaves l where l.kind = 'receipt' group by l.ref having count(*) > 1`
  expect(twice).toEqual([])
}

/** Settled or, when the pool died between the answer and its settlement, settled for nothing. */
async function everyReceiptVerifies(): Promise<void> {
  const outcomes = { paid: 0, free: 0 }
  for (const { id, response } of acknowledged) {
    const file = await eventually(`the receipt ${id}`, () => receipt(id))
    const { state, price } = (JSON.parse(file.toString()) as { view: { statement: { state: string; price: string } } })
      .view.statement
    const completed = state === 'completed' && response !== undefined
    const verdict = verifyReceipt(file, completed ? { response } : {})
    expect(verdict.problem).toBeUndefined()
    if (state !== 'completed' && state !== 'cancelled') expect(price).toBe('0')
    outcomes[price === '0' ? 'free' : 'paid']++
  }
  expect(outcomes.paid).toBeGreaterThan(outcomes.free)
}

async function receipt(id: string): Promise<Buffer | undefined> {
  const answer = await fetch(`${town.url}/v1/receipts/${id}`, { headers: { authorization: `Bearer ${town.apiKey}` } })
  return answer.status === 200 ? Buffer.from(await answer.arrayBuffer()) : undefined
}
