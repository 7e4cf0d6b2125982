import type { AddressInfo } from 'node:net'
import OpenAI from 'openai'
import { type ApiDeps, buildServer, type Client, OfferedModels } from '#api'
import type { Identity } from '#identity'
import type {
  AcceptedRequest,
  IdempotencyClaim,
  IdempotentAnswer,
  IdempotentRequest,
  JobDetails,
  JobHandle,
  JobSink,
  JobSummary,
  Replay,
} from '#jobs'
import { type FinishReason, type ModelOffer, PoolError, type Refusal, TextAssembler, type Token } from '#protocol'
import { systemRuntime } from '#runtime'
import type { Database } from '#storage'
import { TrustLogs } from '#verification'
import { smallPayer } from './small-workers.ts'
import { testPool } from './with-papers.ts'

/** A job of {@link ScriptedJobs}: what was asked, and what the client did with the answer. */
export class ScriptedJob implements JobHandle {
  readonly id = systemRuntime.uuid()
  readonly left = undefined
  readonly assurance = { asked: 'sampled', given: 'none', reason: 'no_verifier' } as const
  readonly salt = Buffer.alloc(32, 0x5a)
  readonly request: AcceptedRequest
  readonly sink: JobSink
  get privacy() {
    return this.request.privacy ?? 'standard'
  }
  cancelled = false
  consumedBytes = 0
  onCancel: () => void = () => {}
  onConsumed: () => void = () => {}

  constructor(request: AcceptedRequest, sink: JobSink) {
    this.request = request
    this.sink = sink
  }

  cancel(): void {
    this.cancelled = true
    this.onCancel()
  }

  consumed(_choice: number, bytes: number): void {
    this.consumedBytes += bytes
    this.onConsumed()
  }

  /** Answers all choices with these words, honouring stop strings and the token limit, then ends. */
  answer(words: readonly string[]): void {
    const { choices, needs } = this.request
    let completionTokens = 0
    for (let choice = 0; choice < choices; choice++) {
      completionTokens += this.#speak(choice, words, needs.includes('logprobs'))
    }
    this.sink.end({ promptTokens: 7, completionTokens })
  }

  #speak(choice: number, words: readonly string[], logprobs: boolean): number {
    const { stops, maxTokens } = this.request
    const assembler = new TextAssembler(stops)
    let finish: FinishReason = 'stop'
    let count = 0
    for (const word of words) {
      if (count === maxTokens) finish = 'length'
      if (count === maxTokens || assembler.stopped) break
      count++
      const token = tokenOf(word, logprobs)
      const text = assembler.push(token.piece)
      if (text || logprobs) this.sink.text(choice, text, [token])
    }
    const rest = assembler.finish()
    if (rest) this.sink.text(choice, rest, [])
    this.sink.choiceEnd(choice, finish)
    return count
  }
}

export function tokenOf(word: string, logprobs = false): Token {
  const piece = Buffer.from(word)
  if (!logprobs) return { id: 1, piece }
  return {
    id: 1,
    piece,
    logprob: -0.5,
    top: [
      { piece, logprob: -0.5 },
      { piece: Buffer.from('x'), logprob: -2 },
    ],
  }
}

/** The room of jobs without workers: a small working thing that a test tells what to answer. */
export class ScriptedJobs {
  readonly all: ScriptedJob[] = []
  /** Refuses the next requests, one each. */
  readonly refusals: Refusal[] = []
  /** What a job does once it is accepted. */
  script: (job: ScriptedJob) => void = (job) => {
    if (job.request.kind === 'embedding') {
      for (let index = 0; index < (job.request.inputs ?? 1); index++) {
        job.sink.vector(index, Float32Array.of(index + 0.5, -1, 0.25))
      }
      job.sink.end({ promptTokens: 4, completionTokens: 0 })
    } else job.answer(['The ', 'answer ', 'is ', '42', '.'])
  }

  readonly load = { open: 1, queued: 2, unsettled: 0, workers: 1, bodyBytes: 0 }
  readonly #answers = new Map<string, { body: Buffer; waiters: (() => void)[]; replay?: Replay }>()

  get last(): ScriptedJob {
    const job = this.all.at(-1)
    if (!job) throw new Error('no job was accepted')
    return job
  }

  async accept(request: AcceptedRequest, sink: JobSink): Promise<JobHandle> {
    const refusal = this.refusals.shift()
    if (refusal) throw PoolError.from(refusal)
    const job = new ScriptedJob(request, sink)
    this.all.push(job)
    setImmediate(() => {
      if (!job.cancelled) this.script(job)
    })
    return job
  }

  /** Newest first, as the real room lists them. */
  async list({ after, limit }: { after?: string; limit: number }): Promise<JobSummary[]> {
    const newest = this.all.map(summaryOf).reverse()
    const from = after === undefined ? 0 : newest.findIndex((job) => job.id === after) + 1
    return newest.slice(from, from + limit)
  }

  async show(id: string): Promise<JobDetails | undefined> {
    const job = this.all.find((one) => one.id === id)
    return job && { ...summaryOf(job), segments: [] }
  }

  /** Remembers answers for ever; a running one is waited for. */
  async idempotent({ keyId, key, body }: IdempotentRequest): Promise<IdempotentAnswer> {
    const name = `${keyId} ${key}`
    for (;;) {
      const known = this.#answers.get(name)
      if (!known) break
      if (!known.body.equals(body)) {
        return { state: 'refused', refusal: { code: 'idempotency_mismatch', message: 'Other body.', fix: 'New key.' } }
      }
      if (known.replay) return { state: 'replay', replay: known.replay }
      await new Promise<void>((resolve) => known.waiters.push(resolve))
    }
    return { state: 'new', claim: this.#claim(name, body) }
  }

  #claim(name: string, body: Buffer): IdempotencyClaim {
    const entry: { body: Buffer; waiters: (() => void)[]; replay?: Replay } = { body, waiters: [] }
    this.#answers.set(name, entry)
    const wake = () => entry.waiters.splice(0).map((waiter) => waiter())
    return {
      keyMac: Buffer.from(name),
      bodyMac: body,
      get wanted() {
        return entry.waiters.length > 0
      },
      finish: (replay) => {
        entry.replay = replay
        wake()
      },
      abandon: () => {
        if (entry.replay) return
        this.#answers.delete(name)
        wake()
      },
    }
  }
}

function summaryOf({ id, request }: ScriptedJob): JobSummary {
  const { kind, model, choices, maxTokens } = request
  const counted = { promptTokens: 7, completionTokens: 5, code: null, digest: null }
  const times = { acceptedAt: 1_000, deadlineAt: 601_000, firstTokenAt: 1_100, endedAt: 1_200 }
  const common = { id, kind, model, choices, maxTokens, keyId: request.key.id, streamed: request.stream }
  return { ...common, ...times, ...counted, state: 'completed' }
}

export const offerOf = (name: string, features: ModelOffer['features'], digest: string | null = null): ModelOffer => ({
  name,
  digest,
  engine: digest ? 'llama' : 'openai',
  contextTokens: 512,
  features,
})

export const toyDigest = 'ab'.repeat(32)

/** A pool whose owner has done nothing: no worker, and no database to administer. */
const noAdmin = {
  workers: { list: () => [], show: () => ({ worker: undefined, violations: [] }), drain: () => false },
  journal: { read: async () => [], add: () => {} },
  appeals: { list: async () => [] },
  trust: { circuitOf: () => 'closed', reset: async () => {} },
  ownOperator: 'self',
  inviteUrl: () => 'http://127.0.0.1:5424',
  database: 'embedded',
  queueMax: 10,
  warnings: () => [],
} as unknown as ApiDeps['admin'] // what is missing is in `adminOver`

/** What an owner administers in a real database, where nothing else has happened. */
export const adminOver = (
  database: Database,
  identity: Identity,
  more: Partial<ApiDeps['admin']> = {},
): ApiDeps['admin'] => ({ ...noAdmin, identity, trustLogs: new TrustLogs(database), ...more })

const noFederation: ApiDeps['federation'] = {
  info: async () => ({ status: 503, body: { mode: 'off' }, headers: [] }),
  directory: async () => ({ status: 503, body: { mode: 'off' }, headers: [] }),
  turnAway: () => undefined,
  answer: async () => ({ status: 503, body: { mode: 'off' }, headers: [] }),
}
/** Nobody has touched a switch. */
const noToggles: ApiDeps['toggles'] = {
  because: async () => [],
  list: async () => [],
  set: async (name, isOn, { actor, reason }) => ({ name, isOn, changedAt: 0, changedBy: actor, reason }),
}
const noLog = {} as ApiDeps['logReader'] // tests that read the log hand in a real one
const nothingTold = {} as ApiDeps['toldEpochs'] // so do tests of checks
const noMoney = {} as ApiDeps['money'] // so do tests of money

/** A listening API over scripted jobs, with two keys: one that may do all, one that is limited. */
export class ApiDouble implements AsyncDisposable {
  readonly jobs = new ScriptedJobs()
  readonly models = new OfferedModels(systemRuntime)
  readonly ended: { route: string; status: number }[] = []
  readonly errors: object[] = []
  readonly app: ReturnType<typeof buildServer>
  databaseUp = true
  stopping = false

  private constructor(more: Partial<ApiDeps>) {
    const says = { assurance: null, privacy: 'standard' } as const
    const clients: Record<string, Client> = {
      'sk-all': { ...smallPayer('all'), userId: 'ada', role: 'user', models: null, ...says },
      'sk-strict': {
        ...smallPayer('strict'),
        userId: 'ada',
        role: 'user',
        models: null,
        assurance: 'required',
        privacy: 'paranoid',
      },
      'sk-few': {
        ...smallPayer('few', { requestsPerMinute: 3 }),
        userId: 'ada',
        role: 'user',
        models: ['toy'],
        ...says,
      },
    }
    const features = ['chat', 'completion', 'logprobs', 'json_schema'] as const
    const offers = [offerOf('toy', [...features], toyDigest), offerOf('org/vectors', ['embedding'])]
    this.models.put({
      id: 'ff'.repeat(32) as never,
      draining: false,
      offers: [...offers, offerOf('big', [...features, 'tools'])],
    })
    this.app = buildServer({
      runtime: systemRuntime,
      log: { error: (details) => this.errors.push(details), debug() {} },
      version: '0.1.0',
      poolId: 'cd'.repeat(32) as ApiDeps['poolId'],
      authenticate: (key) =>
        clients[key] ?? { code: 'invalid_api_key', message: 'This key is not known.', fix: 'Check it.' },
      isOwner: (key) => key === 'owner',
      jobs: this.jobs,
      models: this.models,
      receipt: async () => undefined,
      prices: async () => ({ pool_id: testPool.id, pool_key: testPool.publicKey.toString('base64url'), prices: [] }),
      logReader: noLog,
      toldEpochs: nothingTold,
      federation: noFederation,
      federationAdmin: {} as ApiDeps['federationAdmin'], // tests that administer it hand in a real one
      federationMode: 'off',
      toggles: noToggles,
      tokens: {} as ApiDeps['tokens'],
      pageSecret: Buffer.alloc(32, 7),
      factsAdmin: { facts: {}, notices: {}, witness: {} } as unknown as ApiDeps['factsAdmin'], // tests that look at facts hand in real ones
      requestsAdmin: { requests: {}, peerKeys: {} } as ApiDeps['requestsAdmin'], // tests that decide hand in a real one
      databaseAnswers: async () => this.databaseUp,
      isStopping: () => this.stopping,
      metrics: async () => 'up 1\n',
      ended: (route, status) => this.ended.push({ route, status }),
      admin: noAdmin,
      money: noMoney,
      ...more,
    })
  }

  static async open(more: Partial<ApiDeps> = {}): Promise<ApiDouble> {
    const double = new ApiDouble(more)
    await double.app.listen({ port: 0, host: '127.0.0.1' })
    return double
  }

  get port(): number {
    return (this.app.server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  client(more: { apiKey?: string; maxRetries?: number } = {}): OpenAI {
    return new OpenAI({ baseURL: `${this.url}/v1`, apiKey: 'sk-all', maxRetries: 0, timeout: 20_000, ...more })
  }

  post(route: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(this.url + route, {
      method: 'POST',
      headers: { authorization: 'Bearer sk-all', 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.app.server.closeAllConnections()
    await this.app.close()
  }
}
