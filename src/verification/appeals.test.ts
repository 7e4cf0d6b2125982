import { afterAll, beforeAll, expect, test } from 'vitest'
import { generateIdentity, type Identity as Keys, sha256 } from '#crypto'
import { Identity } from '#identity'
import { Earnings, Ledger, type LedgerOp, ledgerStage } from '#ledger'
import { encodeMessage, encodeSigned, parseWorkerId, signBatch, type WorkerId } from '#protocol'
import { systemRuntime } from '#runtime'
import { GroupCommit, openDatabase, part } from '#storage'
import { type TestDatabase, testDatabase } from '../testkit/index.ts'
import { somebodyWaits } from '../testkit/somebody-waits.ts'
import type { Acts } from './acts.ts'
import { Appeals } from './appeals.ts'
import { auditCheckTables } from './audit-checks.ts'
import { wrongRestitution } from './audit-restitutions.ts'
import { DueActs } from './due-acts.ts'
import { Standings } from './standings.ts'
import type { Tribunals } from './tribunals.ts'

const poolId = sha256(Buffer.from('a pool'))
let db: TestDatabase
let identity: Identity
let standings: Standings
let appeals: Appeals
beforeAll(async () => {
  db = await testDatabase()
  identity = new Identity(db.database, systemRuntime)
  standings = await Standings.open({ database: db.database, runtime: systemRuntime })
  appeals = new Appeals({
    database: db.database,
    runtime: systemRuntime,
    poolId,
    standings,
    isBlocked: (tx, id) => identity.isBlocked(tx, id),
    unblock: (tx, id, convicted, by) => identity.unblockWorker(tx, id, convicted, by),
  })
})
afterAll(async () => {
  standings[Symbol.dispose]()
  identity[Symbol.dispose]()
  await db.drop()
})

const noTribunals = {} as Tribunals // none of these acts calls one

type Worker = Keys & { readonly workerId: WorkerId }

async function joined(operator: string): Promise<Worker> {
  const keys = generateIdentity(systemRuntime)
  const workerId = parseWorkerId(keys.id) as WorkerId
  const { token } = await identity.invite({ operator, by: 'ann' })
  await identity.admitWorker({ publicKey: keys.publicKey, id: workerId, token })
  await identity.approveWorker(workerId, 'ann')
  return { ...keys, workerId }
}

/** As the pool's own engine does it; the acts that follow were carried out. */
async function convict({ workerId }: Worker): Promise<void> {
  const key = { workerId, model: 'm', duty: 'serve' } as const
  await db.database.transaction((tx) => standings.decide(tx, key, { kind: 'refuted' }, 'tribunal 1'))
  await db.sql`update standing_acts set done_at = now() where worker_id = ${workerId}`
  await identity.blockOperator((await identity.operatorOf(workerId)) ?? '', 'tribunal 1', 'pool')
}

function appealOf(worker: Keys, change: object = {}, signer = worker): Buffer {
  const message = {
    pool: poolId,
    worker: Buffer.from(worker.id, 'hex'),
    id: systemRuntime.uuid(),
    statement: 'The verifiers had another file of the model.',
    evidence: 'sha256 of mine: 00',
    at: systemRuntime.now(),
  }
  const bytes = encodeMessage('appeal/1', { ...message, ...change })
  const [signature] = signBatch(signer, [{ type: 'appeal/1', bytes }])
  if (!signature) throw new Error('a batch of one has one signature')
  return encodeSigned({ bytes, signature })
}

const code = (of: Promise<unknown>) =>
  of.then(
    () => 'ok',
    (error) => error.refusal?.code ?? error,
  )
const blocked = async (operator: string) =>
  (await identity.listBlocks()).some(({ kind, subject }) => kind === 'operator' && subject === operator)
const actions = async ({ workerId }: Worker) =>
  (
    await db.sql<{ action: string }[]>`select action from acts where subject = ${`worker:${workerId}`} order by seq`
  ).map(({ action }) => action)

test('the audit finds an appeal that was written past the log', async () => {
  const [heard, quiet] = [await joined('zoe'), await joined('zoe')]
  await identity.block({ worker: heard.workerId }, 'a suspicion', 'ann')
  const { id } = await appeals.submit(appealOf(heard))
  await appeals.decide(id, { granted: false, because: 'it stands', by: 'ann' })
  expect(await auditCheckTables(db.sql)).toBeUndefined()
  const [wire, forged] = [appealOf(quiet), systemRuntime.uuid()]
  await db.sql`insert into appeals (id, worker_id, wire, opened_at) values (${forged}, ${quiet.workerId}, ${wire}, now())`
  expect(await auditCheckTables(db.sql)).toBe(`Appeal ${forged} is not the one that the log tells of.`)
})

test('what goes back after a granted appeal passes the audit; one micro-credit more, signed by the pool itself, does not', async () => {
  const pool = generateIdentity(systemRuntime)
  const worker = await joined('gus')
  const ledger = new Ledger(db.database, systemRuntime)
  const commit = new GroupCommit({ database: db.database, runtime: systemRuntime, stages: [ledgerStage] })
  const submit = (...ops: LedgerOp[]) => commit.submit(ops.map((op) => part(ledgerStage, op)))
  const signer = { poolId: sha256(pool.publicKey), signer: pool }
  const earnings = new Earnings({
    ...signer,
    database: db.database,
    runtime: systemRuntime,
    rule: { ms: 86_400_000, payments: 3 },
    submit: (ops) => submit(...ops),
    mayRelease: () => true,
    isOwn: () => false,
    operatorOf: async () => undefined,
    checksCost: async () => 0n,
    hasOpenAppeal: async () => false,
    convictions: async () => [],
    whileConvicted: async () => {},
    onProblem: () => {},
  })
  const at = systemRuntime.now()
  const user = `user:${systemRuntime.uuid()}`
  await ledger.ensureAccounts([{ name: user }])
  const grant = { op: 'transfer', kind: 'grant', from: 'issuance', to: user, amount: 1_000n, at } as const
  await submit({ ...grant, id: systemRuntime.uuid(), authorisation: Buffer.from('signed') })
  const hold = systemRuntime.uuid()
  await submit({ op: 'hold', id: hold, account: user, amount: 100n, expiresAt: at + 60_000, at, budget: null })
  const legs = [{ account: `held:${worker.workerId}`, amount: 100n }]
  const post = { op: 'post', hold, amount: 100n, legs, tokens: 1, kind: 'charge', at } as const
  expect(await submit({ ...post, id: systemRuntime.uuid() })).toEqual({ applied: true })
  await convict(worker)
  await earnings.slash({ id: systemRuntime.uuid(), workerId: worker.workerId, because: 'tribunal 1' })
  const { id } = await appeals.submit(appealOf(worker))
  await appeals.decide(id, { granted: true, because: 'their file was wrong', by: 'ann' })
  const acts: Partial<Acts> = { payBack: (about) => earnings.payBack({ ...about, id: about.because }) }
  const surroundings = { database: db.database, runtime: systemRuntime, standings, tribunals: noTribunals }
  await new DueActs({ ...surroundings, acts: acts as Acts }).carryOut()
  const wallet = `worker:${worker.workerId}`
  expect((await ledger.balances({ limit: 100 })).find(({ name }) => name === wallet)?.posted).toBe(100n)
  expect(await wrongRestitution(db.sql)).toBeUndefined()

  const more = { kind: 'restitution', from: 'debt', to: wallet, amount: 1n, id: systemRuntime.uuid(), at } as const
  const who = { pool: signer.poolId, worker: Buffer.from(worker.id, 'hex'), job: null, because: id }
  const bytes = encodeMessage('move/1', { ...more, ...who })
  const [signature] = signBatch(pool, [{ type: 'move/1', bytes }])
  if (!signature) throw new Error('a batch of one has one signature')
  const forged = { op: 'transfer', ...more, authorisation: encodeSigned({ bytes, signature }) } as const
  expect(await submit(forged)).toEqual({ applied: true })
  expect(await wrongRestitution(db.sql)).toBe(
    `Transfer ${more.id} gives back more than was taken: 101 of 100 micro-credits.`,
  )
  await earnings[Symbol.asyncDispose]()
  await commit.stop()
})

test('a convicted worker is heard, and when an admin grants it, it is a newcomer whose operator may lend and whose money is due', async () => {
  const worker = await joined('alice')
  await convict(worker)
  const wire = appealOf(worker)
  const opened = await appeals.submit(wire)
  expect(opened).toMatchObject({ workerId: worker.workerId, evidence: 'sha256 of mine: 00', outcome: null })
  expect(await appeals.submit(wire)).toEqual(opened)
  expect(await code(appeals.submit(appealOf(worker)))).toBe('conflict')
  const decided = await appeals.decide(opened.id, { granted: true, because: 'their file was wrong', by: 'ann' })
  expect(decided).toMatchObject({ outcome: 'granted', because: 'their file was wrong', decidedBy: 'ann' })
  expect(await blocked('alice')).toBe(false)
  expect(await db.sql`select from standings where worker_id = ${worker.workerId}`).toHaveLength(0)
  const due = await db.sql`
    select act, because from standing_acts where worker_id = ${worker.workerId} and done_at is null`
  expect(due).toEqual([{ act: 'pay_back', because: opened.id }])
  const paid: string[] = []
  const acts = { payBack: async ({ because }: { because: string }) => void paid.push(because) } as Partial<Acts> as Acts
  const clerk = new DueActs({ database: db.database, runtime: systemRuntime, standings, acts, tribunals: noTribunals })
  await clerk.carryOut()
  await clerk.carryOut()
  expect(paid).toEqual([opened.id])
  expect(await code(appeals.decide(opened.id, { granted: false, because: 'no', by: 'ann' }))).toBe('conflict')
  expect((await actions(worker)).slice(-2)).toEqual(['worker.appeal', 'worker.appeal_granted'])
  expect(await appeals.list({ limit: 10 })).toContainEqual(decided)
})

test('a refused appeal changes nothing but the record', async () => {
  const worker = await joined('bob')
  await convict(worker)
  const { id } = await appeals.submit(appealOf(worker))
  await appeals.decide(id, { granted: false, because: 'the replay differs again', by: 'ann' })
  expect(await blocked('bob')).toBe(true)
  expect(await db.sql`select phase from standings where worker_id = ${worker.workerId}`).toEqual([
    { phase: 'convicted' },
  ])
  expect((await actions(worker)).at(-1)).toBe('worker.appeal_refused')
})

test('an operator with another convicted worker stays blocked', async () => {
  const [first, second] = [await joined('carol'), await joined('carol')]
  await convict(first)
  await convict(second)
  const { id } = await appeals.submit(appealOf(first))
  await appeals.decide(id, { granted: true, because: 'a broken disk', by: 'ann' })
  expect(await blocked('carol')).toBe(true)
})

test('nobody is heard but the worker itself, at its own pool, about something that was decided', async () => {
  const [worker, other] = [await joined('dora'), await joined('eve')]
  expect(await code(appeals.submit(appealOf(worker)))).toBe('conflict')
  await convict(worker)
  expect(await code(appeals.submit(appealOf(worker, {}, other)))).toBe('signature_refused')
  expect(await code(appeals.submit(appealOf(worker, { pool: sha256(Buffer.from('elsewhere')) })))).toBe(
    'signature_refused',
  )
  const wire = appealOf(worker)
  wire[wire.length - 1] = (wire.at(-1) ?? 0) ^ 1
  expect(await code(appeals.submit(wire))).toBe('signature_refused')
  expect(await code(appeals.submit(Buffer.from('nonsense')))).toBe('signature_refused')
  expect(await code(appeals.submit(appealOf(generateIdentity(systemRuntime))))).toBe('not_found')
})

test('a worker that an admin has blocked by hand is heard too', async () => {
  const worker = await joined('frank')
  await identity.block({ worker: worker.workerId }, 'a suspicion', 'ann')
  const { id } = await appeals.submit(appealOf(worker))
  await appeals.decide(id, { granted: true, because: 'it was another one', by: 'ann' })
  expect(await identity.admitWorker({ publicKey: worker.publicKey, id: worker.workerId })).toMatchObject({ ok: true })
})

test('an appeal is granted before a slash or after it, at whichever process, not in the middle: what was taken is known when it goes back', async () => {
  await using second = await openDatabase({ target: db.target, runtime: systemRuntime })
  const worker = await joined('gina')
  const key = { workerId: worker.workerId, model: 'm', duty: 'serve' } as const
  await db.database.transaction((tx) => standings.decide(tx, key, { kind: 'refuted' }, 'tribunal 2'))
  const { id } = await appeals.submit(appealOf(worker))
  const done: string[] = []
  let granting: Promise<unknown> = Promise.resolve()
  const acts: Partial<Acts> = {
    slash: async () => {
      granting = appeals
        .decide(id, { granted: true, because: 'a broken disk', by: 'ann' })
        .then(() => done.push('granted'))
      await somebodyWaits(db.sql)
      done.push('slashed')
    },
    blockOperator: async () => void done.push('blocked'),
    payBack: async ({ workerId }) => void (workerId === worker.workerId && done.push('paid back')),
  }
  const surroundings = { runtime: systemRuntime, standings, acts: acts as Acts, tribunals: noTribunals }
  const clerk = new DueActs({ ...surroundings, database: second })
  await clerk.carryOut()
  await granting
  await clerk.carryOut()
  expect(done).toEqual(['slashed', 'granted', 'paid back'])
})
