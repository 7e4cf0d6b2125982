import os from 'node:os'
import path from 'node:path'
import { type AgentEnd, type AgentStatus, loadMembership, type ModelTaking, runAgent } from '#agent'
import { packageVersion } from '#config'
import { type Engine, findLocalUpstreams, openLlamaEngine, openOpenAiEngine } from '#engines'
import { parseInvite } from '#identity'
import type { Log } from '#observability'
import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import { privateFolder } from '#storage'
import { dialSession } from '#transport'
import { demoModelFile } from './demo-model.ts'
import type { Lifetime } from './lifetime.ts'

/** What a worker lends and to whom; plain data, so that it can be sent to a child process. */
export interface WorkerOrder {
  readonly dataDir: string
  readonly invite?: string | undefined
  /** Where the pool is now, when it may have moved since the worker joined (our own pool on a free port). */
  readonly url?: string | undefined
  readonly models: readonly string[]
  /** URLs, or `auto`. */
  readonly upstreams: readonly string[]
  readonly upstreamApiKey?: string | undefined
  readonly slots?: number | undefined
  readonly threads?: number | undefined
  readonly name: string
  readonly payerSignature: 'optional' | 'required'
  /** Its upstreams are run by the pool's own people. */
  readonly upstreamInside: boolean
  /** Bytes of disk for models that the pool chooses; undefined: it chooses none. */
  readonly modelSpace?: number | undefined
  /** How long running requests may go on once the worker is told to stop, milliseconds. */
  readonly drainMs: number
}

interface WorkerSurroundings {
  readonly runtime: Runtime
  readonly log: Log
  readonly life: Lifetime
  readonly onStatus: (status: AgentStatus) => void
}

/** Opens the engines and lives the worker's life with them. Resolves when it was told to stop or refused for good. */
export async function runWorker(
  order: WorkerOrder,
  { runtime, log, life, onStatus }: WorkerSurroundings,
): Promise<AgentEnd> {
  await refuseStranger(order)
  await privateFolder(order.dataDir)
  const engines = await openEngines(order, runtime, log)
  const stopNow = new AbortController()
  life.atOnce.addEventListener('abort', () => stopNow.abort(), { once: true })
  life.stopping.addEventListener('abort', () => runtime.after(order.drainMs, () => stopNow.abort()), { once: true })
  const { url } = order
  try {
    return await runAgent({
      dataDir: order.dataDir,
      invite: order.invite,
      engines,
      requirePayerSignature: order.payerSignature === 'required',
      upstreamInside: order.upstreamInside,
      models: modelTaking(order, runtime, log),
      agent: `${order.name} lichen/${packageVersion}`.slice(0, 100),
      runtime,
      log,
      signal: life.stopping,
      stopNow: stopNow.signal,
      onStatus,
      ...(url === undefined ? {} : { dial: (options) => dialSession({ ...options, url }) }),
    })
  } finally {
    await Promise.all(engines.map((engine) => engine[Symbol.asyncDispose]()))
  }
}

/** Before models are loaded, which may take minutes: without a pool to go to there is nothing to load them for. */
async function refuseStranger({ dataDir, invite }: WorkerOrder): Promise<void> {
  if (invite !== undefined) {
    const parsed = parseInvite(invite)
    if (!parsed.ok) throw PoolError.from(parsed.refusal)
  } else if (!(await loadMembership(dataDir))) {
    const fix = 'Ask its operator for an invite and run: lichen worker join <invite>'
    throw new PoolError('config_invalid', 'This worker has not joined a pool yet.', fix)
  }
}

/** Model files in one llama.cpp process, each upstream as an engine of its own. @throws PoolError model_unreadable. */
async function openEngines(order: WorkerOrder, runtime: Runtime, log: Log): Promise<Engine[]> {
  const { slots, upstreamApiKey } = order
  const limits = limitsOf(order)
  const upstreams = await upstreamUrls(order, runtime)
  const digestCache = path.join(order.dataDir, 'model-digests.json')
  const nothing = order.models.length === 0 && upstreams.length === 0 && order.modelSpace === undefined
  const models = nothing ? [demoModelFile] : order.models
  return Promise.all([
    ...(models.length === 0
      ? []
      : [openLlamaEngine({ models: models.map((path) => ({ path })), digestCache, ...limits, runtime, log })]),
    ...upstreams.map((baseUrl) =>
      openOpenAiEngine({
        baseUrl,
        ...(upstreamApiKey === undefined ? {} : { apiKey: upstreamApiKey }),
        ...(slots === undefined ? {} : { slots }),
        runtime,
        log,
      }),
    ),
  ])
}

const limitsOf = ({ slots, threads }: WorkerOrder) => ({
  ...(slots === undefined ? {} : { slots }),
  ...(threads === undefined ? {} : { threads }),
})

/** Models that the pool chooses, where the owner gives room for them: each in an engine process of its own. */
function modelTaking(order: WorkerOrder, runtime: Runtime, log: Log): ModelTaking | undefined {
  const { dataDir, modelSpace } = order
  if (modelSpace === undefined) return undefined
  const digestCache = path.join(dataDir, 'model-digests.json')
  return {
    folder: path.join(dataDir, 'models'),
    spaceBytes: modelSpace,
    memoryBytes: () => os.freemem(),
    load: (name, file) =>
      openLlamaEngine({ models: [{ name, path: file }], digestCache, ...limitsOf(order), runtime, log }),
  }
}

/** `auto` becomes what answers on this machine; nothing answering is a mistake the operator should hear of. */
async function upstreamUrls({ upstreams }: WorkerOrder, runtime: Runtime): Promise<string[]> {
  const named = upstreams.filter((url) => url !== 'auto')
  if (named.length === upstreams.length) return named
  const found = await findLocalUpstreams(runtime)
  if (found.length === 0) {
    throw new PoolError(
      'config_invalid',
      'No Ollama or llama-server answers on this machine.',
      'Start it, or name it: --upstream URL.',
    )
  }
  return [...named, ...found.map((upstream) => upstream.baseUrl)]
}
