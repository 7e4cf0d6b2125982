import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { FactPool } from '../../testkit/fact-pool.ts'
import { loopbackHosts } from '../../testkit/federated-pool.ts'
import { freePort } from '../../testkit/free-port.ts'
import { type TestDatabase, testDatabase } from '../../testkit/index.ts'
import { demoModelPath, eventually, Neighbourhood } from '../../testkit/neighbourhood.ts'
import { tellEpoch } from '../../testkit/tell-epoch.ts'

const town = new Neighbourhood()
let db: TestDatabase
/** A pool that only listens. */
let neighbour: FactPool
const honest: string[] = []
let cheat: Awaited<ReturnType<Neighbourhood['joinCheat']>>
beforeAll(async () => {
  ;[db, neighbour] = await Promise.all([testDatabase(), FactPool.open('neighbour')])
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  loopbackHosts.push(new URL(url).host)
  await town.start('pool', ['--port', String(port), '--public-url', url], {
    DATABASE_URL: db.url,
    LICHEN_FEDERATION_HTTP_HOSTS: new URL(neighbour.pool.url).host,
    LICHEN_FEDERATION_PRIVATE_RANGES: '127.0.0.0/8',
  })
  // So that the check rates that orders name are not empty.
  await db.sql`
    insert into standings (worker_id, model, duty, phase, clean, heights, posterior_clean, posterior_hits, accusers, changed_at)
    values (${'ee'.repeat(32)}, 'moss', 'serve', 'trusted', 300, '{0,0,0}', 200, 0, '{}', now())`
  for (const operator of ['ann', 'bob', 'cat']) honest.push((await town.join(operator)).id)
}, 240_000)
afterAll(async () => {
  await town[Symbol.asyncDispose]()
  await Promise.all([db, neighbour].map((one) => one?.[Symbol.asyncDispose]()))
})

const ask = (content: string) =>
  town.client().chat.completions.create({
    model: 'lichen-demo',
    messages: [{ role: 'user', content }],
    max_completion_tokens: 8,
  })

interface CheckOnRecord {
  readonly worker: string
  readonly state: string
  readonly waived: string | null
  readonly looks: number
}

const checks = () => db.sql<CheckOnRecord[]>`
  select c.worker_id as worker, c.state, c.waived,
         (select count(*)::int from looks l where l.check_id = c.id) as looks from checks c order by c.id`

const open = async () => (await checks()).filter(({ state }) => !['clean', 'hit', 'waived'].includes(state))

test('answers of honest workers are looked at by another operator’s and come out clean', async () => {
  for (const n of [1, 2, 3, 4, 5, 6]) await ask(`${n}+4=?`)
  await eventually(
    'six checks to end',
    async () => (await checks()).length >= 6 && (await open()).length === 0,
    120_000,
  )
  for (const check of await checks()) expect(check).toMatchObject({ state: 'clean' })
  const [same] = await db.sql`
    select count(*)::int as n from looks l join checks c on c.id = l.check_id where l.verifier = c.worker_id`
  expect(same?.n).toBe(0)
  await eventually('each verdict to be in the log', async () => {
    const [logged] = await db.sql`
      select count(*)::int as n from verdicts v join log_leaves l on l.kind = 'check' and l.ref = v.check_id::text`
    return logged?.n === (await checks()).length
  })
}, 180_000)

test('a worker that edits what it signed for is caught, frozen, judged by three others and convicted; nobody else is', async () => {
  cheat = await town.joinCheat('mallory', { model: demoModelPath, cheat: 'edits', rate: 1 })
  const { id: mallory } = cheat
  const phase = async () => {
    const [row] = await db.sql<{ phase: string }[]>`
      select phase from standings where worker_id = ${mallory} and duty = 'serve'`
    return row?.phase
  }
  await eventually(
    'mallory to be convicted',
    async () => {
      await Promise.all([1, 2, 3, 4].map((n) => ask(`what is ${n} and seven?`)))
      return (await phase()) === 'convicted'
    },
    200_000,
  )
  const acts = await db.sql<{ act: string }[]>`
    select act from standing_acts where worker_id = ${mallory} and duty = 'serve' order by decided_at, step`
  expect(acts.map(({ act }) => act)).toEqual([
    'pause_releases',
    'freeze',
    'call_tribunal',
    'slash',
    'block_operator',
    'recheck_window',
    'refund_users',
  ])
  const [tribunal] = await db.sql<{ outcome: string; voters: number }[]>`
    select outcome, jsonb_array_length(votes) as voters from tribunals`
  expect(tribunal).toEqual({ outcome: 'hit', voters: 3 })
  await eventually('every check to end', async () => (await open()).length === 0, 120_000)
  for (const { worker, state } of await checks()) expect(state).toBe(worker === mallory ? 'hit' : 'clean')
  const others = await db.sql<{ phase: string }[]>`select phase from standings where worker_id <> ${mallory}`
  expect(others.every((row) => row.phase === 'probation' || row.phase === 'trusted')).toBe(true)
}, 260_000)

test('a bonded pool is told of the slash, verifies the receipt in it anew, and leaves the rest to its human', async () => {
  const { office, peers } = neighbour.pool.federation
  const { peer } = (await office.add(town.url)).view
  await town.bond(neighbour.pool.id, neighbour.pool.admin.publicKey.toString('base64url'))
  const publicKey = Buffer.from((await town.adminKey()).public_key, 'base64url')
  await neighbour.pool.knowsAdmin(peer.id, publicKey)
  await neighbour.pool.bond(peer.id)
  const [notice] = await eventually('the slash to be told', async () => {
    await neighbour.exchange.exchange(peer.id)
    const found = (await neighbour.exchange.notices.list(false)).filter(({ kind }) => kind === 'slash')
    return found.length > 0 && found
  })
  expect(notice).toMatchObject({ peer: peer.id, details: { holds: true }, text: expect.stringContaining('verifies') })
  expect(neighbour.exchange.notices.isSuspected(notice?.subject ?? '')).toBe(true)
  const [convicted] = await db.sql`select worker_id from standings where phase = 'convicted' and duty = 'serve'`
  expect(convicted).toMatchObject({ worker_id: notice?.subject })
  expect(peers.get(peer.id)).toMatchObject({ trust: 3, revoked: false })
})

/** A command of somebody's own machine, to its end. */
async function on(dataDir: string, ...args: string[]) {
  const program = town.run([...args, '--json', '--data', dataDir])
  return { code: await program.ended, json: JSON.parse(program.stdout.join('\n') || 'null'), err: program.stderr }
}

const balance = async (account: string) => {
  const [row] = await db.sql<{ posted: bigint }[]>`select posted from accounts where name = ${account}`
  return row?.posted ?? 0n
}

test('the convicted worker appeals: refused, everything stays; granted, its money comes back, its operator may lend, and it works again', async () => {
  const { id, dataDir, program } = cheat
  const [held, wallet] = [`held:${id}`, `worker:${id}`]
  const appeal = async (because: string) => {
    const said = await on(dataDir, 'worker', 'appeal', '--because', because)
    expect([said.code, said.err]).toEqual([0, ''])
    const listed = await on(town.dataDir, 'workers', 'appeals')
    expect(listed.json.data.at(-1)).toMatchObject({ id: said.json.id, worker: id, statement: because, outcome: null })
    return String(said.json.id)
  }
  const decide = async (which: string, ruling: '--grant' | '--refuse') => {
    const { code, err } = await on(town.dataDir, 'workers', 'decide', which, ruling, '--because', 'the replay says so')
    expect([code, err]).toEqual([0, ''])
  }
  const stands = async () => {
    const [row] = await db.sql`
      select (select phase from standings where worker_id = ${id} and duty = 'serve') as phase,
             (select blocked_at is not null from operators where name = 'mallory') as blocked,
             (select standing from worker_keys where id = ${id}) as key`
    return { ...row, held: await balance(held), wallet: await balance(wallet) }
  }
  const [sums] = await db.sql<{ taken: bigint; refunded: bigint }[]>`
    select coalesce(sum(t.amount) filter (where a.name = ${held}), 0)::bigint as taken,
           coalesce(sum(t.amount) filter (where t.kind = 'refund'), 0)::bigint as refunded
      from transfers t join accounts a on a.id = t.debit where t.kind in ('slash', 'refund')`
  const { taken = 0n, refunded = 0n } = sums ?? {}
  expect(taken).toBeGreaterThan(0n)
  expect(refunded).toBeGreaterThan(taken)
  const convicted = await stands()
  expect(convicted).toMatchObject({ phase: 'convicted', blocked: true, key: 'revoked', wallet: 0n })

  await decide(await appeal('my file is the right one'), '--refuse')
  expect(await stands()).toEqual(convicted)

  await decide(await appeal('the verifiers had another file'), '--grant')
  const acts = () => db.sql<{ action: string; logged: boolean }[]>`
    select a.action, exists (select from log_leaves l where l.kind = 'act' and l.ref = a.seq::text) as logged from acts a
     where a.action like '%appeal%' or a.action in ('operator.unblock', 'worker.pay_back') order by a.seq`
  await eventually('the money to come back, on record', async () => {
    const last = (await acts()).at(-1)
    return last?.action === 'worker.pay_back' && last.logged
  })
  expect(await stands()).toEqual({ ...convicted, phase: null, blocked: false, wallet: taken })
  expect(await acts()).toEqual(
    [
      ...['worker.appeal', 'worker.appeal_refused', 'worker.appeal', 'worker.appeal_granted'],
      ...['operator.unblock', 'worker.pay_back'],
    ].map((action) => ({ action, logged: true })),
  )

  await program.stop()
  await town.admin('POST', `/workers/${id}/renew`)
  town.run(['worker', 'join', '--json', '--model', demoModelPath, '--data', dataDir])
  const paid = async () => (await balance(held)) > convicted.held
  await eventually(
    'the worker to earn again',
    async () => {
      await Promise.all([1, 2, 3, 4].map((n) => ask(`${n}+9=?`)))
      return paid()
    },
    120_000,
  )
  const checked = await eventually('its new answers to be found clean', async () => {
    const [row] = await db.sql`select phase, clean from standings where worker_id = ${id} and duty = 'serve'`
    return row
  })
  expect(checked).toMatchObject({ phase: 'probation' })
  await eventually('every check to end', async () => (await open()).length === 0, 120_000)
}, 240_000)

/** A receipt of the pool as a file. */
async function receiptFile(jobId: string): Promise<string> {
  const answer = await fetch(`${town.url}/v1/receipts/${jobId}`, {
    headers: { authorization: `Bearer ${town.apiKey}` },
  })
  const file = path.join(town.folder, `${jobId}.json`)
  await writeFile(file, Buffer.from(await answer.arrayBuffer()))
  return file
}

const audit = async (...args: string[]) => {
  const program = town.run(['audit', ...args, '--data', town.dataDir], { DATABASE_URL: db.url })
  return { code: await program.ended, out: program.stdout.join('\n'), err: program.stderr }
}

test('a receipt says what was seen at once, and a day later how likely that was; anybody can decide it all again', async () => {
  const [check] = await db.sql<{ jobId: string; epoch: number }[]>`
    select job_id as "jobId", epoch::int as epoch from checks where state = 'clean' order by id limit 1`
  if (!check) throw new Error('nothing was checked')
  const early = await town.cli('verify', await receiptFile(check.jobId))
  expect([early.code, early.err]).toEqual([0, ''])
  expect(early.out).toMatch(
    /given sampled, .*worker [0-9a-f]{12}… looked at it again and found it clean, mean score 0\.\d+ logits/,
  )
  expect(early.out).toContain('is told from')
  expect((await audit('sampling', '--epoch', String(check.epoch))).err).toContain('is told from')

  await town.pool?.stop()
  await tellEpoch(db.database, town.dataDir, check.epoch)
  await db.sql`delete from standings where worker_id = ${'ee'.repeat(32)}`
  // As some days later: what was told can be read for good.
  const [named] = await db.sql<{ n: number }[]>`
    with gone as (delete from rate_tables returning rates) select count(*)::int as n from gone where rates::text <> '[]'`
  expect(named?.n).toBeGreaterThan(0)
  const sampling = await audit(
    'sampling',
    '--epoch',
    String(check.epoch),
    '--out',
    path.join(town.folder, 'epoch.ndjson'),
  )
  expect(sampling.err).toBe('')
  expect(sampling.out).toMatch(/every decision of epoch \d+ is what its key says/i)
  expect(await readFile(path.join(town.folder, 'epoch.ndjson'), 'utf8')).toContain(check.jobId)
  const whole = await audit()
  expect([whole.code, whole.err]).toEqual([0, ''])

  await town.start('pool', [], { DATABASE_URL: db.url })
  const stranger = async (...more: string[]) => {
    const empty = ['--data', path.join(town.folder, 'nothing')]
    const args = ['audit', 'sampling', '--epoch', String(check.epoch), '--at', town.url, ...more, ...empty]
    const program = town.run(args)
    return { code: await program.ended, out: program.stdout.join('\n'), err: program.stderr }
  }
  const copy = path.join(town.folder, 'as-a-stranger.ndjson')
  const seen = await stranger('--out', copy)
  expect([seen.code, seen.err]).toEqual([0, ''])
  expect(seen.out).toContain(sampling.out)
  expect(await readFile(copy, 'utf8')).toBe(await readFile(path.join(town.folder, 'epoch.ndjson'), 'utf8'))
  expect((await stranger('--pool', 'ab'.repeat(32))).err).toContain('not the one that --pool names')
  const late = await town.cli('verify', await receiptFile(check.jobId))
  expect([late.code, late.err]).toEqual([0, ''])
  expect(late.out).toContain('this answer was among those checked; the chance was 100 %')
  const file = await receiptFile(check.jobId)
  const other = (await readFile(file, 'utf8')).replace(/"ppm":1000000|"rates":\[null\]/, '"rates":[]')
  await writeFile(file, other)
  expect((await town.cli('verify', file)).code).toBe(1)

  await db.database.transaction(async (tx) => {
    await tx.unsafe(`set local session_replication_role = replica`)
    await tx`delete from looks where check_id in (select id from checks where job_id = ${check.jobId})`
    await tx`delete from verdicts where job_id = ${check.jobId}`
    await tx`delete from checks where job_id = ${check.jobId}`
  })
  const missed = await stranger()
  expect([missed.code, missed.err]).toEqual([1, expect.stringContaining('was to be checked, and no check')])
  const skipped = await audit('sampling', '--epoch', String(check.epoch))
  expect(skipped.code).toBe(1)
  expect(skipped.err).toContain('was to be checked, and no check and no waiver is on record')
}, 180_000)
