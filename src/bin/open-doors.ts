import { type ApiDeps, buildServer, type Client } from '#api'
import { isLoopback, packageVersion, type Settings } from '#config'
import { sha256 } from '#crypto'
import { looksLikeToken, type Tokens } from '#federation'
import type { Identity } from '#identity'
import { findReceipt, type ProveLeaves } from '#jobs'
import { type Ledger, ledgerStage, transferLeaf } from '#ledger'
import { insertAct } from '#log'
import type { Refusal, WorkerId } from '#protocol'
import { part } from '#storage'
import { Appeals, aloneWith, ToldEpochs, TrustLogs } from '#verification'
import { openWorkerDoor } from './admit-workers.ts'
import { closeServer, inviteUrl, listen, listenForOwnWorker } from './listen.ts'
import { openFacts } from './open-facts.ts'
import { openFederation } from './open-federation.ts'
import { openLending } from './open-lending.ts'
import type { Ground, Rooms } from './open-rooms.ts'
import { ownOperator } from './own-worker.ts'
import { removePoolFile, writePoolFile } from './pool-file.ts'
import { readTls } from './refuse-settings.ts'
import { tierWarnings } from './tier-warnings.ts'
import { witnessWarnings } from './witness-warnings.ts'

/** Where a pool is reached: by everybody, and by its own worker. */
export interface Doors {
  readonly url: string
  readonly workerUrl: string
}

/** The HTTP server and the workers' door beside it. */
export async function openDoors(all: Ground & Rooms): Promise<Doors> {
  const { settings, runtime, pool, log, closers } = all
  let url = ''
  const server = buildServer(await apiDeps(all, () => inviteUrl(url, settings)))
  const door = openWorkerDoor({ ...all, ...settings, onFault: (error) => log.error({ err: error }, 'session broke') })
  door.attach(server.server)
  closers.add('server', () => closeServer(server, runtime))
  url = await listen(server, settings)
  const workerUrl = settings.tlsCert === undefined ? url : await listenForOwnWorker(door, closers)
  closers.add('workers’ door', () => door.close())
  const trust = settings.tlsCert === undefined ? {} : { tls_cert: settings.tlsCert }
  await writePoolFile(settings.data, { url, pid: process.pid, pool_id: pool.poolId, ...trust }, runtime)
  closers.add('pool.json', () => removePoolFile(settings.data))
  return { url, workerUrl }
}

async function apiDeps(all: Ground & Rooms, inviteUrl: () => string): Promise<ApiDeps> {
  const {
    settings,
    runtime,
    log,
    life,
    pool,
    identity,
    workers,
    journal,
    standings,
    breakers,
    jobs,
    models,
    database,
    events,
    ledger,
    transparency,
    commit,
  } = all
  const poolKey = pool.identity.publicKey
  const { door, admin: federationAdmin, toggles, requestsAdmin, tokens, federation } = await openFederation(all)
  const { receipts, statements } = openLending(all, federation, toggles)
  const prove: ProveLeaves = (leaves, pool) => transparency.proveAll(leaves, pool)
  const exchange = openFacts(all, federation)
  const { tlsCert } = settings
  return {
    runtime,
    log,
    version: packageVersion,
    poolId: pool.poolId,
    publicUrl: settings.publicUrl,
    loopbackOnly: isLoopback(settings.host) && tlsCert === undefined && !settings.behindTlsProxy,
    browserOrigins: settings.browserOrigins,
    authenticate: (key) => (looksLikeToken(key) ? byToken(key, tokens, identity) : identity.authenticate(key)),
    tokens,
    isOwner: (key) => pool.isOwner(key),
    jobs,
    models,
    modelsElsewhere: () => all.elsewhere.borrowing?.models,
    tiers: settings.tier.length > 0 ? { list: settings.tier, degradation: settings.degradation } : undefined,
    modelFiles: all.handOut.library,
    receipt: (jobId) =>
      findReceipt({ sql: database.sql, keys: transparency.keys, prove, remote: (id) => receipts.of(id) }, jobId),
    prices: async () => ({
      pool_id: pool.poolId,
      pool_key: poolKey.toString('base64url'),
      required_workers: settings.requiredWorkers,
      prices: await tokenPrices(ledger),
    }),
    logReader: transparency.reader,
    toldEpochs: new ToldEpochs(database.sql),
    federation: door,
    federationAdmin: Object.assign(federationAdmin, {
      statement: (id: string, days: number) => statements.exchange(id, days),
    }),
    federationMode: settings.federation,
    toggles,
    requestsAdmin,
    pageSecret: sha256(Buffer.from('lichen/page-session/1'), pool.identity.seed),
    factsAdmin: exchange,
    databaseAnswers: async () =>
      !commit.stalled &&
      database.ping().then(
        () => true,
        () => false,
      ),
    isStopping: () => life.stopping.aborted,
    metrics: () => scrape(all),
    ended: (route, status, ms) => events.ended(route, status, ms),
    admin: {
      identity,
      workers,
      trustLogs: new TrustLogs(database),
      journal,
      appeals: new Appeals({
        database,
        runtime,
        standings,
        poolId: sha256(poolKey),
        isBlocked: (tx, id) => identity.isBlocked(tx, id),
        unblock: (tx, id, convicted, by) => identity.unblockWorker(tx, id, convicted, by),
      }),
      trust: {
        circuitOf: (id) => breakers.circuitOf(id),
        reset: async (id, actor) => {
          const reset = () =>
            database.transaction(async (tx) => {
              await standings.reset(tx, id)
              await breakers.reset(tx, id)
              await insertAct(tx, { actor, action: 'worker.reset', subject: `worker:${id}` })
            })
          await aloneWith(database, id, reset)
          // It was drained when it was frozen.
          workers.drain(id as WorkerId, false)
        },
      },
      ownOperator,
      inviteUrl,
      database: settings.databaseUrl === undefined ? 'embedded' : 'external',
      queueMax: settings.queueMax,
      warnings: () => [...warningsOf(settings), ...tierWarnings(settings, models), ...witnessWarnings(exchange)],
    },
    money: {
      ledger,
      poolKey,
      apply: (transfer) =>
        commit.submit([
          part(ledgerStage, transfer),
          part(transparency.stage, { kind: 'transfer', ref: transfer.id, data: transferLeaf(transfer) }),
        ]),
    },
    tls: await readTls(settings),
  }
}

/** Who comes with a token computes as the API key it stands for, and administers nothing. */
async function byToken(
  token: string,
  tokens: Pick<Tokens, 'apiKeyOf'>,
  identity: Pick<Identity, 'apiKeyById'>,
): Promise<Client | Refusal> {
  const meant = await tokens.apiKeyOf(token)
  if ('code' in meant) return meant
  const key = await identity.apiKeyById(meant.apiKeyId)
  return 'code' in key ? key : { ...key, role: 'user' }
}

/** One row for each model that has a price of its own, `*` for all others. */
async function tokenPrices(ledger: Ledger) {
  const models = new Set((await ledger.prices.list()).map(({ model }) => model))
  return Promise.all(
    [...models].map(async (model) => {
      const { prompt, completion } = await ledger.prices.for(model)
      return { model, prompt_token: String(prompt), completion_token: String(completion) }
    }),
  )
}

/** Gauges are read when somebody asks. */
function scrape({ metrics, workers, jobs, handOut }: Ground & Rooms): Promise<string> {
  const connected = workers.list()
  const approved = connected.filter((worker) => worker.standing === 'approved')
  const busy = approved.reduce((sum, worker) => sum + worker.active, 0)
  const slots = approved.reduce((sum, worker) => sum + worker.slots, 0)
  metrics.set('lichen_model_transfers', {}, handOut.library.transfers)
  metrics.set('lichen_jobs_waiting', {}, jobs.load.queued)
  metrics.set('lichen_workers_connected', { standing: 'approved' }, approved.length)
  metrics.set('lichen_workers_connected', { standing: 'pending' }, connected.length - approved.length)
  metrics.set('lichen_worker_slots', { state: 'busy' }, busy)
  metrics.set('lichen_worker_slots', { state: 'free' }, Math.max(0, slots - busy))
  return metrics.text()
}

function warningsOf({ host, insecureBind, tlsCert, behindTlsProxy }: Settings): string[] {
  const inClear = insecureBind && !isLoopback(host) && tlsCert === undefined && !behindTlsProxy
  return inClear ? [`Keys and prompts cross the network in clear: ${host} is served without TLS (insecure_bind).`] : []
}
