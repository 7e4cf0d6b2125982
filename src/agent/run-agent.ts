import type { DhKey, Identity } from '#crypto'
import type { Engine } from '#engines'
import { parseInvite } from '#identity'
import {
  acceptModelsFeature,
  PoolError,
  type PoolId,
  payerSignatureFeature,
  type Refusal,
  type RefusalCode,
  upstreamInsideFeature,
  type Welcome,
} from '#protocol'
import { type Runtime, withDeadline } from '#runtime'
import { dialSession, type SecureSession } from '#transport'
import { Backoff } from './backoff.ts'
import { type AgentLog, EngineSet } from './engine-set.ts'
import { agentLimits } from './limits.ts'
import { loadMembership, loadWorkerKeys, saveMembership } from './membership.ts'
import { ModelDesk, type ModelTaking } from './model-desk.ts'
import { PaperDesk } from './papers.ts'
import { type LinkEnd, PoolLink } from './pool-link.ts'

/** What the worker is doing, for whoever watches. */
export type AgentStatus =
  | { readonly state: 'connecting'; readonly url: string; readonly worker: string }
  /** An operator of the pool must run `approve`. */
  | { readonly state: 'pending'; readonly worker: string; readonly approve: string }
  | { readonly state: 'ready'; readonly worker: string; readonly expiresAt: string | null; readonly models: string[] }
  | { readonly state: 'waiting'; readonly retryInMs: number; readonly why: LinkEnd }
  | { readonly state: 'draining'; readonly running: number }
  | { readonly state: 'refused'; readonly why: LinkEnd }
  | { readonly state: 'stopped' }

export interface AgentOptions {
  /** Text of an invite; without it the membership in `dataDir` is used. */
  readonly invite?: string | undefined
  /** Keys and membership live here; made with mode 0700. */
  readonly dataDir: string
  readonly engines: readonly Engine[]
  /** Compute only what a payer's own key has ordered. */
  readonly requirePayerSignature?: boolean | undefined
  /** Upstreams are run by the pool's own people: prompts that may not leave the pool may go there. */
  readonly upstreamInside?: boolean | undefined
  /** Takes models that the pool chooses; none unless given. */
  readonly models?: ModelTaking | undefined
  /** Name and version shown to the pool's operator, at most 100 characters. */
  readonly agent: string
  readonly runtime: Runtime
  readonly log: AgentLog
  /** First signal: take nothing new, finish what runs (30 s), then end. */
  readonly signal: AbortSignal
  /** Second signal: end now. */
  readonly stopNow?: AbortSignal | undefined
  onStatus?(status: AgentStatus): void
  /** How the pool is reached; the real network unless a test says otherwise. */
  readonly dial?: typeof dialSession
}

/** Why the agent ended: told to stop, or refused by the pool for good. */
export type AgentEnd = { readonly reason: 'stopped' } | { readonly reason: 'refused'; readonly why: LinkEnd }

/** Trying again would not help: somebody must do something first. */
const finalCodes: ReadonlySet<RefusalCode> = new Set([
  'wrong_pool',
  'worker_unknown',
  'worker_revoked',
  'worker_expired',
  'worker_blocked',
  'invite_invalid',
  'invite_used',
  'invite_expired',
  'config_invalid',
])

/**
 * A worker's life: dials its pool, serves, dials again, until it is told to stop or the pool refuses it for good.
 * Rejects with a PoolError when it cannot begin: config_invalid, conflict, invite_invalid, key_file_unsafe.
 */
export async function runAgent(options: AgentOptions): Promise<AgentEnd> {
  const { dataDir, runtime } = options
  const keys = await loadWorkerKeys(dataDir, runtime)
  const door = await findPool(options)
  const agent = new Agent(options, keys, door)
  try {
    return await agent.run()
  } finally {
    await agent.close()
  }
}

interface PoolDoor {
  readonly url: string
  readonly poolId: PoolId
  /** One-time token, until the first welcome. */
  token: Buffer | undefined
  joined: boolean
}

async function findPool({ dataDir, invite }: AgentOptions): Promise<PoolDoor> {
  const membership = await loadMembership(dataDir)
  if (invite === undefined) {
    if (membership) return { url: membership.url, poolId: membership.poolId, token: undefined, joined: true }
    const fix = 'Ask an operator for an invite and run: lichen worker join <invite>'
    throw new PoolError('config_invalid', 'This worker has not joined a pool.', fix)
  }
  const parsed = parseInvite(invite)
  if (!parsed.ok) throw PoolError.from(parsed.refusal)
  const { url, poolId, token } = parsed.invite
  if (membership && membership.poolId !== poolId) {
    const fix = 'Use another data directory for the new pool (--data), or remove this one.'
    throw new PoolError('conflict', `This worker belongs to pool ${membership.poolId.slice(0, 12)}….`, fix)
  }
  return { url, poolId, token, joined: false }
}

class Agent {
  readonly #options: AgentOptions
  readonly #keys: { identity: Identity; staticKey: DhKey }
  readonly #door: PoolDoor
  readonly #engines: EngineSet
  readonly #desk: PaperDesk
  readonly #backoff: Backoff
  /** Either signal: begin nothing new. */
  readonly #stopping: AbortSignal
  #models: ModelDesk | undefined
  #saved: Promise<void> | undefined

  constructor(options: AgentOptions, keys: { identity: Identity; staticKey: DhKey }, door: PoolDoor) {
    this.#options = options
    this.#keys = keys
    this.#door = door
    const requirePayerSignature = options.requirePayerSignature === true
    const own = [
      ...(requirePayerSignature ? [payerSignatureFeature] : []),
      ...(options.upstreamInside === true ? [upstreamInsideFeature] : []),
      ...(options.models ? [acceptModelsFeature] : []),
    ]
    this.#engines = new EngineSet(options.engines, options.agent, options.log, own)
    this.#desk = new PaperDesk(keys.identity, options.runtime, { requirePayerSignature })
    this.#backoff = new Backoff(options.runtime)
    const { signal, stopNow } = options
    this.#stopping = stopNow ? AbortSignal.any([signal, stopNow]) : signal
  }

  async run(): Promise<AgentEnd> {
    await this.#openModels()
    while (!this.#stopping.aborted) {
      const why = await this.#connectOnce()
      await this.#saved
      if (this.#stopping.aborted) break
      if (finalCodes.has(why.code)) {
        this.#say({ state: 'refused', why })
        return { reason: 'refused', why }
      }
      await this.#pause(why)
    }
    this.#say({ state: 'stopped' })
    return { reason: 'stopped' }
  }

  async close(): Promise<void> {
    await this.#models?.[Symbol.asyncDispose]()
  }

  async #openModels(): Promise<void> {
    const { models, runtime, log } = this.#options
    if (!models) return
    const urlOf = (digest: string) => modelUrl(this.#door.url, digest)
    this.#models = await ModelDesk.open({ ...models, engines: this.#engines, runtime, log, urlOf })
  }

  /** One dial and, if it works, one session to its end. */
  async #connectOnce(): Promise<LinkEnd & { retryAfterMs?: number }> {
    this.#say({ state: 'connecting', url: this.#door.url, worker: this.#keys.identity.id })
    try {
      return await this.#serve(await this.#dial())
    } catch (error) {
      if (this.#stopping.aborted) return notReached
      if (error instanceof PoolError) return error.refusal
      this.#options.log.warn({ error: String(error) }, 'dialling failed')
      return notReached
    }
  }

  /** Has its own deadline. */
  #dial(): Promise<SecureSession> {
    const { dial = dialSession, runtime } = this.#options
    const { url, poolId, token } = this.#door
    return dial({ url, poolId, token, ...this.#keys, runtime, signal: this.#stopping })
  }

  async #serve(session: SecureSession): Promise<LinkEnd> {
    const { log, runtime, signal, stopNow } = this.#options
    const onWelcome = (welcome: Welcome) => this.#welcomed(welcome)
    const house = { engines: this.#engines, models: this.#models, desk: this.#desk }
    const link = new PoolLink({ session, ...house, runtime, log, onWelcome })
    const drain = () => void this.#drain(link)
    const leave = () => link.leave()
    if (signal.aborted) drain()
    else signal.addEventListener('abort', drain, { once: true })
    if (stopNow?.aborted) leave()
    else stopNow?.addEventListener('abort', leave, { once: true })
    try {
      return await link.ended
    } finally {
      signal.removeEventListener('abort', drain)
      stopNow?.removeEventListener('abort', leave)
    }
  }

  async #drain(link: PoolLink): Promise<void> {
    this.#say({ state: 'draining', running: link.active })
    const tooLong = new Error('drain deadline')
    await withDeadline(this.#options.runtime, agentLimits.drainMsMax, tooLong, link.drain()).catch((error) => {
      if (error !== tooLong) throw error
    })
    link.leave()
  }

  #welcomed(welcome: Welcome): void {
    const { dataDir, log, runtime } = this.#options
    this.#backoff.reset()
    const worker = this.#keys.identity.id
    if (!this.#door.joined) {
      const { url, poolId } = this.#door
      this.#door.joined = true
      this.#door.token = undefined
      this.#saved = saveMembership(dataDir, { url, poolId, worker }, runtime).catch((error) => {
        log.warn({ error: String(error) }, 'the membership could not be saved')
      })
    }
    if (welcome.standing === 'pending') {
      this.#say({ state: 'pending', worker, approve: `lichen workers approve ${worker}` })
    } else {
      const models = this.#engines.hello().models.map((model) => model.name)
      this.#say({ state: 'ready', worker, expiresAt: welcome.expiresAt, models })
    }
  }

  async #pause(why: LinkEnd & { retryAfterMs?: number }): Promise<void> {
    const retryInMs = this.#backoff.next(why.retryAfterMs)
    this.#say({ state: 'waiting', retryInMs, why })
    await this.#options.runtime.sleep(retryInMs, this.#stopping).catch(() => {})
  }

  #say(status: AgentStatus): void {
    this.#options.log.info({ ...status }, 'agent')
    this.#options.onStatus?.(status)
  }
}

/** Where a model file of this pool is: the address of its door, by HTTP. */
function modelUrl(poolUrl: string, digest: string): string {
  return `${poolUrl.replace(/^ws/, 'http').replace(/\/+$/, '')}/v1/workers/models/${digest}`
}

const notReached: Pick<Refusal, 'code' | 'message' | 'fix'> = {
  code: 'pool_unreachable',
  message: 'The pool could not be reached.',
  fix: 'Check the address and the network; the worker tries again by itself.',
}
