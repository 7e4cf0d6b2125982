import { OfferedModels } from '#api'
import type { Settings } from '#config'
import { sha256 } from '#crypto'
import { Identity, type PoolIdentity } from '#identity'
import { Jobs, jobStages } from '#jobs'
import { Ledger } from '#ledger'
import { TransparencyLog } from '#log'
import { EventJournal, type Log, type Metrics, type PoolEvents, type TroubleLog } from '#observability'
import type { PoolId, WorkerId } from '#protocol'
import { Breakers } from '#reputation'
import type { Runtime } from '#runtime'
import { type Database, GroupCommit } from '#storage'
import { type Checks, checkProfiles, KernelNames, Kernels, openChecks, Standings } from '#verification'
import { type ConnectedWorker, Workers } from '#workers'
import { actsOfPool } from './acts-of-pool.ts'
import { followBlocks, followWorkerKeys } from './admit-workers.ts'
import { auditAtStart } from './audit-at-start.ts'
import type { Closers } from './closers.ts'
import { HandOutModels } from './hand-out-models.ts'
import type { Borrowing } from './lending/borrowing.ts'
import type { Lifetime } from './lifetime.ts'
import { openBooks } from './open-books.ts'
import { openEarnings } from './open-earnings.ts'
import { ownOperator } from './own-worker.ts'

/** What the rooms of a pool stand on. */
export interface Ground {
  readonly settings: Settings
  readonly runtime: Runtime
  readonly life: Lifetime
  readonly log: Log
  readonly trouble: TroubleLog
  readonly events: PoolEvents
  readonly metrics: Metrics
  readonly closers: Closers
  readonly pool: PoolIdentity
  readonly database: Database
}

export interface Rooms {
  readonly identity: Identity
  readonly workers: Workers
  readonly journal: EventJournal
  readonly jobs: Jobs
  readonly models: OfferedModels
  readonly ledger: Ledger
  readonly transparency: TransparencyLog
  readonly commit: GroupCommit
  readonly standings: Standings
  readonly breakers: Breakers
  readonly checks: Checks
  readonly elsewhere: Elsewhere
  readonly handOut: HandOutModels
}

/** Other pools as workers of this one, once federation is open; what the rooms must know of them before. */
export interface Elsewhere {
  /** Whether a bonded pool has shown something against this worker. */
  isSuspected?: (workerId: string) => boolean
  borrowing?: Pick<Borrowing, 'peerOf' | 'shareOf' | 'dispatch' | 'models' | 'whyAway'>
  /** What came of a run at another pool. */
  ended?(peer: PoolId, outcome: 'success' | 'failure' | 'mismatch', why: string): void
  /** The trust in a pool has changed, or one is found again. */
  trusted?(): void
}

/** Identity, workers and jobs, and what one must tell the other. */
export async function openRooms(ground: Ground): Promise<Rooms> {
  const { settings, runtime, database, pool, events, metrics, closers, log, trouble } = ground
  const transparency = await TransparencyLog.open({
    database,
    runtime,
    poolId: pool.poolId,
    signer: pool.identity,
    dataDir: settings.data,
    onProblem: trouble('the transparency log is in trouble'),
  })
  closers.add('transparency log', () => transparency[Symbol.asyncDispose]())
  await auditBeforeUse(ground)
  const ledger = new Ledger(database, runtime)
  const identity = new Identity(database, runtime)
  closers.add('identity', () => identity[Symbol.dispose]())
  const commit = new GroupCommit({
    database,
    runtime,
    stages: jobStages(transparency.stage),
    onFlush: (event) => events.flushed(event),
  })
  closers.add('group commit', () => commit[Symbol.asyncDispose]())
  transparency.follow(commit)
  await openBooks({ ledger, commit, transparency, identity, pool, runtime })
  const journal = new EventJournal({
    database,
    runtime,
    onProblem: trouble('events wait for the database'),
  })
  closers.add('events', () => journal[Symbol.asyncDispose]())
  const models = new OfferedModels(runtime)
  const available = (worker: ConnectedWorker) => {
    models.put(worker)
    kernels.put(worker)
    checks.workerAvailable(worker)
    jobs.workerAvailable(worker)
  }
  const workers = new Workers({
    ...events,
    runtime,
    connected: (worker) => {
      events.connected(worker)
      journal.add('worker_joined', worker.id, { operator: worker.operator, standing: worker.standing })
    },
    left: (worker, reason) => {
      events.left(worker, reason)
      journal.add('worker_left', worker.id, { operator: worker.operator, reason })
    },
    fetched: (worker, fetch, whyNot) => handOut.fetched(worker, fetch, whyNot),
    onAvailable: available,
    onChanged: available,
    onGone: (id) => {
      models.remove(id)
      kernels.remove(id)
      checks.workerGone(id)
      jobs.workerGone(id)
    },
  })
  closers.add('workers', () => workers.close())
  const kernels = new Kernels({
    runtime,
    measure: (id, ask, signal) => workers.calibrate(id as WorkerId, ask, signal),
    tell: (id, model, kernel) => {
      workers.tellKernel(id as WorkerId, model, kernel)
      jobs.kernelsChanged(id as WorkerId)
    },
    names: new KernelNames(database.sql, runtime),
    onProblem: trouble('names of kernel classes cannot be shared'),
  })
  closers.add('kernel classes', () => kernels[Symbol.dispose]())
  const isOwn = (id: string) => workers.show(id as WorkerId).worker?.operator === ownOperator
  const elsewhere: Elsewhere = {}
  let trusting: Pick<Jobs, 'trustChanged'> | undefined
  const standings = await Standings.open({
    database,
    runtime,
    profile: checkProfiles[settings.checkProfile],
    isOwn,
    isSuspected: (id) => elsewhere.isSuspected?.(id) ?? false,
    onProblem: trouble('the standings of workers cannot be read'),
    onRead: (id) => trusting?.trustChanged(id),
  })
  closers.add('standings', () => standings[Symbol.dispose]())
  const breakers = await Breakers.open({
    database,
    runtime,
    onEvent: (change) => {
      events.circuit(change)
      const { event, workerId, why, pauseMs } = change
      journal.add(event, workerId, why === undefined ? {} : { why, pause_ms: pauseMs })
    },
    onChange: (id) => trusting?.trustChanged(id),
    onProblem: trouble('circuits of workers wait for the database'),
  })
  closers.add('circuits', () => breakers[Symbol.dispose]())
  const peerOf = (id: string) => elsewhere.borrowing?.peerOf(id)
  // The pool's own worker is never short of work: where it fails, nobody else may be there.
  const ranOn = (id: string, how: Parameters<Breakers['ended']>[1], why = '') => {
    const peer = peerOf(id)
    if (peer) elsewhere.ended?.(peer, how === 'success' ? how : how === 'quality' ? 'mismatch' : 'failure', why)
    if (!isOwn(id)) breakers.ended(id, how)
  }
  const handOut = await HandOutModels.open({
    settings,
    runtime,
    workers,
    trusted: () => {
      const unsettled = standings.unsettled()
      return (id) => !unsettled.has(id) && elsewhere.isSuspected?.(id) !== true && breakers.circuitOf(id) === 'closed'
    },
    events,
    metrics,
    journal,
  })
  closers.add('model offers', () => handOut[Symbol.dispose]())
  const earnings = openEarnings({ ...ground, identity, commit, transparency, standings, isOwn })
  closers.add('earnings', () => earnings[Symbol.asyncDispose]())
  const checks = await openChecks({
    database,
    commit,
    runtime,
    standings,
    verifiers: workers,
    acts: actsOfPool({
      workers,
      identity,
      earnings,
      log,
      isElsewhere: (id) => peerOf(id) !== undefined,
    }),
    pool: pool.identity,
    sealing: pool.sealing,
    logStage: transparency.stage,
    operatorOf: async (id) => (await identity.showWorker(id).catch(() => undefined))?.operator,
    kernelOf: (id, digest) => kernels.of(id, digest),
    events: {
      ...events,
      checkEnded: (check) => {
        events.checkEnded(check)
        const { workerId, model, outcome } = check
        const peer = outcome === 'hit' ? peerOf(workerId) : undefined
        if (peer) elsewhere.ended?.(peer, 'mismatch', `its answer is not that of ${model}`)
      },
    },
  })
  closers.add('checks', () => checks[Symbol.asyncDispose]())
  const jobs = await Jobs.start({
    runtime,
    sql: database.sql,
    commit,
    whyAway: (model) => elsewhere.borrowing?.whyAway(model),
    workers: {
      dispatch(id, order, sink) {
        const { borrowing } = elsewhere
        return (borrowing?.peerOf(id) ? borrowing : workers).dispatch(id, order, sink)
      },
    },
    peerOf,
    secret: sha256(Buffer.from('lichen/idempotency/1'), pool.identity.seed),
    alone: settings.databaseUrl === undefined,
    events: {
      ...events,
      runEnded: ({ workerId, how }) => ranOn(workerId, how),
      workerFault: (event) => {
        events.workerFault(event)
        ranOn(event.workerId, 'quality', `${event.fault}${event.why === undefined ? '' : `: ${event.why}`}`)
      },
      dissented: (event) => {
        events.dissented(event)
        ranOn(event.workerId, 'quality')
      },
    },
    pool: pool.identity,
    logStage: transparency.stage,
    checks: checks.intake,
    comparison: checks.comparison,
    pricesFor: (model) => ledger.prices.for(model),
    payerSignature: settings.payerSignature,
    kernelOf: (id, digest) => kernels.of(id, digest),
    trustOf: (id, model) => {
      const { weight, runsMax, newcomer } = standings.of(id, model)
      const peer = peerOf(id)
      const share = peer ? (elsewhere.borrowing?.shareOf(peer) ?? 1) : 1
      return {
        weight: weight * share,
        newcomer,
        runsMax: Math.min(runsMax, breakers.runsAllowed(id)),
        isOwn: isOwn(id),
      }
    },
    settings: {
      deadlineMs: settings.requestTimeout,
      queuedRunsMax: settings.queueMax,
      requiredWorkers: settings.requiredWorkers,
    },
  })
  trusting = jobs
  closers.add('jobs', () => jobs.close())
  const following = followWorkerKeys(identity, { workers, handOut }, events)
  closers.add('workers’ keys', () => following[Symbol.dispose]())
  const blocking = followBlocks(identity, { workers, handOut }, runtime)
  closers.add('blocks', () => blocking[Symbol.dispose]())
  return {
    identity,
    workers,
    journal,
    jobs,
    models,
    ledger,
    transparency,
    commit,
    standings,
    breakers,
    checks,
    elsewhere,
    handOut,
  }
}

/** What came since the last audit; a history that was changed keeps the pool from starting, or ends it. */
async function auditBeforeUse({ settings, runtime, database, pool, closers, log, life }: Ground): Promise<void> {
  const stop = await auditAtStart({
    database,
    data: settings.data,
    poolKey: pool.identity.publicKey,
    runtime,
    onLong: () => log.info('the audit of what came since the last start takes long; it goes on beside the pool'),
    onProblem: ({ refusal: { code, message, fix } }) => {
      log.fatal({ code, fix }, message)
      life.stop('the history of the pool was changed', 1)
    },
    onBroken: (error) => log.error({ err: error }, 'the audit could not be brought to its end; run `lichen audit`'),
  })
  closers.add('audit', stop)
}
