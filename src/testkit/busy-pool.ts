import OpenAI from 'openai'
import { identityFromSeed, type Identity as Key, sha256 } from '#crypto'
import { claimDatabase, Identity, loadPoolIdentity, type PoolIdentity, poolItself } from '#identity'
import { jobStages } from '#jobs'
import { Ledger, type LedgerOp, ledgerStage, transferLeaf } from '#ledger'
import { insertAct, TransparencyLog } from '#log'
import { encodeMessage, encodeSigned, type Grant, signBatch, type Transfer } from '#protocol'
import { systemRuntime } from '#runtime'
import { GroupCommit, part } from '#storage'
import { openBooks } from '../bin/open-books.ts'
import { createClient } from '../client/create-client.ts'
import { eventually, Neighbourhood, type Program } from './neighbourhood.ts'
import { type TestDatabase, testDatabase } from './test-database.ts'

const admin = identityFromSeed(Buffer.alloc(32, 0x41))
const payer = identityFromSeed(Buffer.alloc(32, 0x42))

/** A pool that has lived: users, keys, grants, payments, prices, orders of both kinds, and a job that was cut off. It is dead. */
export interface BusyPool extends AsyncDisposable {
  readonly db: TestDatabase
  readonly dataDir: string
  readonly pool: PoolIdentity
  /** Runs a command on the same database. */
  start(args: string[]): Program
}

/** Real programs on a database of one's own, with a real worker; killed while a request was being answered. */
export async function busyPool(): Promise<BusyPool> {
  const db = await testDatabase()
  const town = new Neighbourhood()
  const pool = await loadPoolIdentity(town.dataDir, systemRuntime)
  const key = await administer(db, town.dataDir, pool)
  const program = town.run(['up', '--json', '--port', '0', '--data', town.dataDir], { DATABASE_URL: db.url })
  const ready = await program.firstLine()
  const baseURL = `${String(ready.url)}/v1`
  const plain = new OpenAI({ baseURL, apiKey: String(ready.api_key), maxRetries: 0 })
  const signing = new OpenAI({
    baseURL,
    apiKey: key,
    maxRetries: 0,
    fetch: createClient({ poolUrl: String(ready.url), apiKey: key, payerKey: payer.seed }),
  })
  const ask = (content: string) => ({
    model: 'lichen-demo',
    messages: [{ role: 'user' as const, content }],
    max_tokens: 200,
  })
  for (const client of [plain, signing]) {
    await Promise.all([1, 2, 3].map((n) => client.chat.completions.create(ask(`${n}+4=?`))))
  }
  await plain.chat.completions.create({ ...ask('2+2=?'), n: 2 })
  const stream = await plain.chat.completions.create({ ...ask('tell me about lichen'), stream: true })
  for await (const _ of stream) break
  const settled = async () => {
    const [row] = await db.sql<{ open: bigint }[]>`select count(*) as open from holds`
    return row?.open === 0n
  }
  await eventually('every job to be settled', settled)
  await cutOff(db, plain, ask('tell me about lichen'))
  await program.crash()
  return {
    db,
    dataDir: town.dataDir,
    pool,
    start: (args) => town.run(args, { DATABASE_URL: db.url }),
    async [Symbol.asyncDispose]() {
      await town[Symbol.asyncDispose]()
      await db.drop()
    },
  }
}

/** Asks for much at once and waits until some of it is held. */
async function cutOff(db: TestDatabase, client: OpenAI, request: OpenAI.ChatCompletionCreateParamsNonStreaming) {
  for (let n = 0; n < 16; n++) client.chat.completions.create(request).catch(() => {})
  await eventually('something to be held', async () => {
    const [row] = await db.sql<{ open: bigint }[]>`select count(*) as open from holds`
    return (row?.open ?? 0n) > 0n
  })
}

/** What people with special rights do, in the pool's own rooms, before it starts. Gives bob's API key. */
async function administer(db: TestDatabase, dataDir: string, pool: PoolIdentity): Promise<string> {
  const { database } = db
  const runtime = systemRuntime
  await claimDatabase(database, pool.poolId)
  await using log = await TransparencyLog.open({
    database,
    runtime,
    poolId: pool.poolId,
    signer: pool.identity,
    dataDir,
  })
  using identity = new Identity(database, runtime)
  const ledger = new Ledger(database, runtime)
  await using commit = new GroupCommit({ database, runtime, stages: jobStages(log.stage) })
  await openBooks({ ledger, commit, transparency: log, identity, pool, runtime })
  const bob = await identity.createUser({ name: 'bob', payerKey: payer.publicKey }, poolItself)
  const carla = await identity.createUser({ name: 'carla', role: 'operator' }, poolItself)
  await identity.setUserRole('carla', 'auditor', poolItself)
  await identity.createApiKey({ name: 'clipboard', user: 'carla', role: 'auditor' }, poolItself)
  await identity.disableUser('carla', poolItself)
  await identity.addAdminKey({ name: 'ada', publicKey: admin.publicKey }, poolItself)
  await block(identity)
  const { key } = await identity.createApiKey(
    { name: 'laptop', user: 'bob', budgetTotal: 10n ** 12n, budgetPerDay: 10n ** 12n, requestsPerMinute: 1_000 },
    poolItself,
  )
  await identity
    .createApiKey({ name: 'old', user: 'bob' }, poolItself)
    .then(({ id }) => identity.revokeApiKey(id, poolItself))
  await ledger.ensureAccounts([{ name: bob.account, key: payer.publicKey }, { name: carla.account }])
  for (const amount of [300n, 500n]) await price(ledger, amount)
  const move = async (op: LedgerOp & { op: 'transfer' }) => {
    const outcome = await commit.submit([
      part(ledgerStage, op),
      part(log.stage, { kind: 'transfer', ref: op.id, data: transferLeaf(op) }),
    ])
    if (!outcome.applied) throw new Error(`${op.kind} was refused: ${outcome.stage} ${outcome.code}`)
  }
  const poolId = sha256(pool.identity.publicKey)
  for (const amount of [5_000_000_000n, 7_000_000_000n]) {
    const grant: Grant = { pool: poolId, to: bob.account, amount, id: runtime.uuid(), memo: '', at: runtime.now() }
    const authorisation = signed(admin, 'grant/1', encodeMessage('grant/1', grant))
    await move({
      op: 'transfer',
      id: grant.id,
      kind: 'grant',
      from: 'issuance',
      to: bob.account,
      amount,
      at: grant.at,
      authorisation,
    })
  }
  const at = runtime.now()
  const payment: Transfer = {
    pool: poolId,
    from: bob.account,
    to: carla.account,
    amount: 1_000n,
    id: runtime.uuid(),
    memo: 'lunch',
    expires: at + 60_000,
  }
  const authorisation = signed(payer, 'transfer/1', encodeMessage('transfer/1', payment))
  await move({
    op: 'transfer',
    id: payment.id,
    kind: 'payment',
    from: bob.account,
    to: carla.account,
    amount: 1_000n,
    at,
    authorisation,
  })
  await log.keep(commit)
  return key
}

/** A network that is kept out, one that no longer is, and an operator. */
async function block(identity: Identity): Promise<void> {
  const [because, by] = ['sent garbage', 'owner.key']
  for (const address of ['192.0.2.0/24', '198.51.100.7']) await identity.block({ address }, because, by)
  await identity.unblock({ address: '198.51.100.7' }, by)
  await identity.invite({ operator: 'mallory', by })
  await identity.blockOperator('mallory', because, by)
}

async function price(ledger: Ledger, amount: bigint): Promise<void> {
  const validFrom = systemRuntime.now()
  const details = { completion_token: String(amount), valid_from: new Date(validFrom).toISOString() }
  await ledger.prices.setAll(
    [{ model: 'big', unit: 'completion_token', amount, validFrom, setBy: 'owner.key' }],
    (tx) => insertAct(tx, { actor: 'owner.key', action: 'price.set', subject: 'model:big', details }).then(() => {}),
  )
}

function signed(key: Key, type: 'grant/1' | 'transfer/1', bytes: Buffer): Buffer {
  const [signature] = signBatch(key, [{ type, bytes }])
  if (!signature) throw new Error('a batch of one has one signature')
  return encodeSigned({ bytes, signature })
}
