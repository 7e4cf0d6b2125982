import { type Identity, identityFromSeed } from '#crypto'
import type { AcceptedRequest, JobHandle, JobSink, Jobs, Payer } from '#jobs'
import {
  decodeSigned,
  encodeMessage,
  encodeSigned,
  type FinishReason,
  type ModelOffer,
  type Refusal,
  SegmentHash,
  signBatch,
  type Token,
  TokenBatch,
  type UsageClaim,
  type WorkerId,
  type WorkerStatement,
} from '#protocol'
import type { RunEnd, RunHandle, RunOrder, RunSink } from '#workers'

/** The digest of the model that small workers have unless told otherwise. */
export const smallDigest = 'd1'.repeat(32)

/** What a small worker does with a run. It may throw nothing and end nothing: a worker that hangs. */
export type Plan = (run: SmallRun) => void | Promise<void>

export interface SmallWorkerOptions {
  readonly slots?: number
  readonly offers?: readonly Partial<ModelOffer>[]
  readonly plan?: Plan
  readonly signs?: boolean
  /** How long a cancelled run takes to its last word, milliseconds; none unless given. */
  readonly lastWordMs?: number
  readonly features?: readonly string[]
  /** Its own name unless given. */
  readonly operator?: string
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** The answer every small worker gives: position n of it is the same on all of them, as with a position-indexed sampler. */
export const smallAnswer = (tokens: number) => Array.from({ length: tokens }, (_, n) => `w${n} `)

/** One run at a small worker. */
export class SmallRun implements RunHandle {
  readonly order: RunOrder
  readonly worker: SmallWorker
  cancelled = false
  consumedBytes = 0
  said = 0
  over = false
  readonly #hash = new SegmentHash()
  readonly #sink: RunSink

  constructor(worker: SmallWorker, order: RunOrder, sink: RunSink) {
    this.worker = worker
    this.order = order
    this.#sink = sink
  }

  /** It signs for what it said until then. */
  cancel(): void {
    this.cancelled = true
    this.worker.runs.delete(this)
    const end = this.#endOf('stop', { promptTokens: 0, completionTokens: this.said })
    const { lastWordMs } = this.worker
    const acknowledge = () => this.#sink.acknowledged?.(end)
    if (lastWordMs === 0) setImmediate(acknowledge)
    else setTimeout(acknowledge, lastWordMs)
  }

  consumed(bytes: number): void {
    this.consumedBytes += bytes
  }

  /** One message of tokens whose ids are their positions in the answer. */
  say(...texts: (string | Token)[]): void {
    const first = this.order.resume.length + this.said
    this.said += texts.length
    const tokens = TokenBatch.of(
      texts.map((text, n) => (typeof text === 'string' ? { id: first + n, piece: Buffer.from(text) } : text)),
    )
    if (!this.cancelled && !this.over) this.#hash.add(tokens)
    this.#tell((sink) => sink.tokens(tokens))
  }

  delta(delta: Record<string, unknown>): void {
    if (!this.cancelled && !this.over) this.#hash.addDelta(delta)
    this.#tell((sink) => sink.delta(delta))
  }

  vector(index: number, values: number[]): void {
    const floats = Float32Array.from(values)
    if (!this.cancelled && !this.over) this.#hash.addVector(index, Buffer.from(floats.buffer))
    this.#tell((sink) => sink.vector(index, floats))
  }

  /** The whole answer from where earlier segments left off, one token a message, until `until` tokens or `max_tokens`. */
  async answer(until = this.order.maxTokens): Promise<void> {
    const all = smallAnswer(Math.min(until, this.order.maxTokens))
    for (const text of all.slice(this.order.resume.length + this.said)) {
      await turn()
      if (this.cancelled || this.over) return
      this.say(text)
    }
  }

  end(finish: FinishReason = 'stop', claim: Partial<UsageClaim> = {}): void {
    const { promptTokens = 3, completionTokens = this.said } = claim
    const end = this.#endOf(finish, { promptTokens, completionTokens })
    this.#last((sink) => sink.end(end))
  }

  fail(refusal: Partial<Refusal> = {}, retry = true, blameless = false): void {
    const full = { code: 'upstream_error' as const, message: 'No.', fix: 'Try again.', ...refusal }
    this.#last((sink) => sink.failed({ retry, refusal: full, blameless }))
  }

  lost(reason: string): void {
    this.#last((sink) => sink.lost(reason))
  }

  /** With the worker's statement, unless it is one that does not sign. */
  #endOf(finish: FinishReason, claim: UsageClaim): RunEnd {
    const { identity, signs } = this.worker
    const assignment = decodeSigned(this.order.papers.assignment, 'assignment/1')
    if (!signs || !assignment.ok) return { finish, ...claim, statement: null }
    const { hash, message } = assignment.signed
    const { model, digest, decode, prefix, worker } = message
    const statement: WorkerStatement = {
      assignment: hash,
      worker,
      sent: this.#hash.digest(),
      tokens: this.#hash.pieces,
      usage: { prompt: claim.promptTokens, completion: claim.completionTokens },
      model,
      digest,
      kernel: null,
      decode,
      sampler: 'sampler/1',
      finish,
      prefix,
    }
    const bytes = encodeMessage('worker-statement/1', statement)
    const [signature] = signBatch(identity, [{ type: 'worker-statement/1', bytes }])
    return { finish, ...claim, statement: signature ? encodeSigned({ bytes, signature }) : null }
  }

  #tell(tell: (sink: RunSink) => void): void {
    if (!this.cancelled && !this.over) tell(this.#sink)
  }

  #last(tell: (sink: RunSink) => void): void {
    this.worker.runs.delete(this)
    const silent = this.cancelled || this.over
    this.over = true
    if (!silent) tell(this.#sink)
  }
}

/** A worker in memory: as real as the jobs' room can tell. */
export class SmallWorker {
  readonly identity: Identity
  readonly id: WorkerId
  /** Whether it vouches for what it sends. */
  signs: boolean
  readonly lastWordMs: number
  readonly offers: readonly ModelOffer[]
  readonly slots: number
  readonly tokensPerSecond = 0
  readonly features: readonly string[]
  readonly operator: string
  draining = false
  plan: Plan
  /** Runs it has now, and how many it ever had. */
  readonly runs = new Set<SmallRun>()
  readonly had: SmallRun[] = []
  readonly #home: SmallWorkers

  constructor(home: SmallWorkers, name: string, options: SmallWorkerOptions) {
    this.#home = home
    this.identity = identityFromSeed(Buffer.from(name.padEnd(32, '.')).subarray(0, 32))
    this.id = this.identity.id as WorkerId
    this.signs = options.signs ?? true
    this.lastWordMs = options.lastWordMs ?? 0
    this.features = options.features ?? []
    this.operator = options.operator ?? name
    this.slots = options.slots ?? 4
    this.plan = options.plan ?? answersIn(10)
    this.offers = (options.offers ?? [{}]).map((offer) => ({
      name: 'moss',
      digest: smallDigest,
      engine: 'llama',
      contextTokens: 4_096,
      features: ['chat', 'completion', 'embedding', 'resume'],
      ...offer,
    }))
  }

  /** Its connection is cut. */
  die(): void {
    this.#home.leave(this)
  }
}

export const answersIn =
  (tokens: number): Plan =>
  async (run) => {
    await run.answer(tokens)
    run.end()
  }

export const diesAfter =
  (tokens: number): Plan =>
  async (run) => {
    await run.answer(tokens)
    run.worker.die()
  }

/** Says so many tokens and then nothing any more. */
export const hangsAfter =
  (tokens: number): Plan =>
  (run) =>
    run.answer(tokens)

/** Stands in for the workers' room: sessions and sockets left out, the contract of `dispatch` kept. */
export class SmallWorkers {
  readonly #workers = new Map<string, SmallWorker>()
  jobs: Pick<Jobs, 'workerAvailable' | 'workerGone'> | undefined

  join(name: string, options: SmallWorkerOptions = {}): SmallWorker {
    const worker = new SmallWorker(this, name, options)
    this.#workers.set(worker.id, worker)
    this.jobs?.workerAvailable(worker)
    return worker
  }

  leave(worker: SmallWorker): void {
    this.#workers.delete(worker.id)
    this.jobs?.workerGone(worker.id)
    for (const run of [...worker.runs]) run.lost('connection closed')
  }

  /** Never more runs than slots; the sink hears nothing before this returns. */
  dispatch(id: WorkerId, order: RunOrder, sink: RunSink): RunHandle {
    const worker = this.#workers.get(id)
    if (!worker) {
      // It left while its assignment was being signed.
      queueMicrotask(() => sink.lost('it is not connected'))
      return { cancel: () => queueMicrotask(() => sink.acknowledged?.(undefined)), consumed() {} }
    }
    if (worker.runs.size >= worker.slots) throw new Error(`the pool overfilled ${id}`)
    const run = new SmallRun(worker, order, sink)
    worker.runs.add(run)
    worker.had.push(run)
    sink.sent?.()
    setImmediate(() => void worker.plan(run))
    return run
  }
}

/** Whose account every small request is paid from, unless told otherwise; {@link SmallPool} fills it. */
export const smallAccount = 'user:00000000-0000-7000-8000-000000000001'

/** A key without limits. */
export function smallPayer(id: string, more: Partial<Payer> = {}): Payer {
  return {
    id,
    weight: 1,
    account: smallAccount,
    payerKey: null,
    payerSignature: 'optional',
    budgetTotal: null,
    budgetPerDay: null,
    requestsPerMinute: null,
    tokensPerMinute: null,
    ...more,
  }
}

/** A request for a chat answer of `moss`. */
export function smallRequest(more: Partial<AcceptedRequest> = {}): AcceptedRequest {
  return {
    kind: 'chat',
    model: 'moss',
    body: Buffer.from('{"messages":[{"role":"user","content":"tell me about lichen"}]}'),
    key: smallPayer('key-alice'),
    needs: ['chat'],
    choices: 1,
    maxTokens: 100,
    stops: [],
    messages: 1,
    promptBytes: 20,
    resumable: true,
    stream: true,
    ...more,
  }
}

/** Resolves when the client has read so many words. */
export const afterWords = (client: SmallClient, words: number): Promise<void> =>
  new Promise((resolve) => {
    client.onText = ({ texts }) => {
      if ((texts[0]?.trim().split(' ').length ?? 0) >= words) resolve()
    }
  })

/** What a client got. */
export interface SmallReply {
  readonly texts: string[]
  readonly tokens: Token[]
  readonly deltas: Record<string, unknown>[]
  readonly vectors: Float32Array[]
  readonly finishes: (FinishReason | undefined)[]
  readonly usage: UsageClaim | undefined
  readonly refusal: Refusal | undefined
}

/** A client that keeps everything. `ended` resolves with the last word of the job. */
export class SmallClient implements JobSink {
  readonly texts: string[] = []
  readonly tokenList: Token[] = []
  readonly deltas: Record<string, unknown>[] = []
  readonly vectors: Float32Array[] = []
  readonly finishes: (FinishReason | undefined)[] = []
  handle: JobHandle | undefined
  /** Called with every text. */
  onText: ((client: SmallClient) => void) | undefined
  readonly ended: Promise<SmallReply>
  #resolve: (reply: SmallReply) => void = () => {}
  #over = false

  constructor() {
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  text(choice: number, text: string, tokens: readonly Token[]): void {
    this.#alive()
    this.texts[choice] = (this.texts[choice] ?? '') + text
    this.tokenList.push(...tokens)
    this.onText?.(this)
  }

  delta(_choice: number, delta: Record<string, unknown>): void {
    this.#alive()
    this.deltas.push(delta)
  }

  vector(index: number, values: Float32Array): void {
    this.#alive()
    if (this.vectors[index]) throw new Error(`vector ${index} came twice`)
    this.vectors[index] = values
  }

  choiceEnd(choice: number, finish: FinishReason): void {
    this.#alive()
    if (this.finishes[choice]) throw new Error(`choice ${choice} ended twice`)
    this.finishes[choice] = finish
  }

  end(usage: UsageClaim): void {
    this.#last(usage, undefined)
  }

  failed(refusal: Refusal): void {
    this.#last(undefined, refusal)
  }

  responseHash(): null {
    return null
  }

  #alive(): void {
    if (!this.handle) throw new Error('the job spoke before its owner had the handle')
    if (this.#over) throw new Error('the job spoke after its last word')
  }

  #last(usage: UsageClaim | undefined, refusal: Refusal | undefined): void {
    this.#alive()
    this.#over = true
    const { texts, tokenList, deltas, vectors, finishes } = this
    this.#resolve({ texts, tokens: tokenList, deltas, vectors, finishes, usage, refusal })
  }
}
