import { type Identity, sha256 } from '#crypto'
import {
  type Answer,
  answerNo,
  answerYes,
  federationLimits,
  type Heard,
  type StreamedAnswer,
  v1JobSchema,
  v2JobSchema,
  writeFrame,
} from '#federation'
import type { AcceptedRequest, JobHandle, Jobs, Payer } from '#jobs'
import {
  type Assignment,
  BatchSigner,
  checkAssignment,
  decodeSigned,
  encodeOwnMessage,
  encodeSigned,
  featuresNeeded,
  type OpenAiRequests,
  PoolError,
  type PoolId,
  parseOpenAiRequest,
  refusalCodes,
  SignatureChecker,
  type Signed,
} from '#protocol'
import type { Runtime } from '#runtime'
import { chooseModel } from '../openai/choose-model.ts'
import type { ModelDirectory } from '../openai/model-directory.ts'
import { toAcceptedRequest } from '../openai/to-accepted-request.ts'
import { toRefusal } from '../to-refusal.ts'
import { LentSink } from './lent-sink.ts'

interface Prices {
  readonly prompt: bigint
  readonly completion: bigint
}

export interface LendDeps {
  readonly jobs: Pick<Jobs, 'accept'>
  readonly models: ModelDirectory
  readonly runtime: Runtime
  readonly pool: Identity
  readonly poolId: PoolId
  /** Whether the operator lends at all. */
  readonly lends: () => boolean
  /** What a token costs here. */
  readonly prices: (model: string) => Promise<Prices>
  /** Of these, what the pool that computes gets. */
  readonly executorPrices: (prices: Prices) => Prices
  readonly books: LendingBooks
}

/** What is kept of jobs for other pools. */
export interface LendingBooks {
  /** Takes a job down, and reserves what it may cost at most, in micro-credits. `again`: it was asked for before; `credit`: the pool owes too much. */
  reserve(peer: PoolId, originRequestId: string, amount: bigint): Promise<'reserved' | 'again' | 'credit'>
  /** Its hold stands in place of what was reserved. */
  accepted(peer: PoolId, originRequestId: string, jobId: string): Promise<void>
  /** Why a job was not taken after all: the same may be asked again. */
  forget(peer: PoolId, originRequestId: string): Promise<void>
}

/** A job to take on: parsed, priced, and who it is for. */
interface Wanted {
  readonly originRequestId: string
  readonly request: AcceptedRequest
}

/** Jobs of other pools, computed here: their pools pay as they have agreed, up to what they may owe. */
export class JobLender {
  readonly #d: LendDeps
  readonly #checker = new SignatureChecker()
  readonly #signer: BatchSigner

  constructor(deps: LendDeps) {
    this.#d = deps
    this.#signer = new BatchSigner(deps.pool)
  }

  async reply(heard: Heard, signal: AbortSignal): Promise<Answer | StreamedAnswer> {
    if (!this.#d.lends()) return answerNo(503, 'accept_forwarding is off')
    try {
      return heard.envelope.version === 2 ? await this.#stream(heard, signal) : await this.#whole(heard, signal)
    } catch (error) {
      const { refusal } = toRefusal(error)
      const { status } = refusalCodes[refusal.code]
      return { status, body: { error: refusal.message, code: refusal.code }, headers: [] }
    }
  }

  /** Version 1: the whole answer, at this pool's own prices. */
  async #whole({ envelope, verified }: Heard, signal: AbortSignal): Promise<Answer> {
    const asked = v1JobSchema.safeParse(verified.body)
    if (!asked.success) return answerNo(400, `invalid ${asked.error.issues[0]?.path.join('.')}`)
    const { origin_request_id: originRequestId, messages, max_tokens, model: name } = asked.data
    const model = name ?? this.#d.models.list()[0]?.name
    if (model === undefined) throw new PoolError('no_worker', 'No worker is here.', 'Ask again later.')
    const body = Buffer.from(JSON.stringify({ model, messages, max_tokens }))
    const prices = this.#d.executorPrices(await this.#d.prices(model))
    const request = {
      ...this.#request('chat', body, model, envelope.sender, prices),
      deadlineMs: federationLimits.v1JobMsMax,
    }
    const sink = new LentSink()
    const handle = await this.#accept({ originRequestId, request }, envelope.sender, sink)
    for (;;) {
      const heard = await sink.next(signal).catch((error) => {
        handle.cancel()
        throw error
      })
      if (!('ok' in heard)) continue
      if (!heard.ok) throw PoolError.from(heard.refusal)
      return answerYes({
        ok: true,
        response: sink.whole,
        worker_id: this.#d.poolId,
        tokens_in: heard.promptTokens,
        tokens_out: heard.completionTokens,
        exec_pool_id: this.#d.poolId,
        origin_request_id: originRequestId,
        worker_sig: null,
      })
    }
  }

  /** Version 2: as a worker of the other pool, by its assignment; every piece as it comes, and a statement over them. */
  async #stream({ envelope, verified }: Heard, signal: AbortSignal): Promise<Answer | StreamedAnswer> {
    const asked = v2JobSchema.safeParse(verified.body)
    if (!asked.success) return answerNo(400, `invalid ${asked.error.issues[0]?.path.join('.')}`)
    const { origin_request_id: originRequestId, kind, body, salt, deadline_ms } = asked.data
    const poolKey = Buffer.isBuffer(verified.key) ? verified.key : verified.key.raw
    const assignment = this.#assignmentOf(asked.data.assignment, { poolKey, kind, salt, body })
    const { model, digest, prices, maxTokens, seed } = assignment.message
    const own = await this.#d.prices(model)
    if (prices.prompt < own.prompt || prices.completion < own.completion)
      throw new PoolError(
        'order_over_cap',
        'The prices in the assignment are below those of this pool.',
        'See its `info`.',
      )
    const pinned = digest === null ? model : `${model}@${digest.toString('hex')}`
    const parsed = this.#request(kind, body, pinned, envelope.sender, this.#d.executorPrices(prices))
    const request = {
      ...parsed,
      maxTokens: Math.min(maxTokens, parsed.maxTokens),
      assignedSeed: seed,
      deadlineMs: deadline_ms,
      stream: true,
    }
    const sink = new LentSink()
    const handle = await this.#accept({ originRequestId, request }, envelope.sender, sink)
    const sampler = samplerOf(digest, parsed)
    return { contentType: 'text/event-stream', pieces: this.#frames(handle, sink, assignment, sampler, signal) }
  }

  async *#frames(
    handle: JobHandle,
    sink: LentSink,
    assignment: Signed<'assignment/1'>,
    sampler: 'sampler/1' | 'native' | 'upstream',
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void> {
    let over = false
    try {
      // it was taken: the other pool need not wait for the first token to know
      yield writeFrame({ tokens: [] })
      let next: ReturnType<LentSink['next']> | undefined
      while (!over) {
        next ??= sink.next(signal)
        const heard = await this.#whileAlive(next)
        if (!heard) {
          yield writeFrame({ tokens: [] })
          continue
        }
        next = undefined
        if (!('ok' in heard)) {
          yield writeFrame({ tokens: heard })
          handle.consumed(
            0,
            heard.reduce((sum, { piece }) => sum + piece.length, 0),
          )
          continue
        }
        over = true
        if (heard.ok) {
          const { finish, promptTokens, completionTokens } = heard
          const usage = { prompt: promptTokens, completion: completionTokens }
          const statement = await this.#attest(assignment, sink, { usage, finish, sampler })
          yield writeFrame({ end: { finish, promptTokens, completionTokens, statement } })
        } else {
          const { code, message } = heard.refusal
          yield writeFrame({ failed: { code, message, busy: refusalCodes[code].status === 429 } })
        }
      }
    } finally {
      // who asked is gone, is revoked, or federation is switched off
      if (!over) handle.cancel()
    }
  }

  /** What came, or undefined where nothing has for a while. */
  async #whileAlive<T>(next: Promise<T>): Promise<T | undefined> {
    const silent = Promise.withResolvers<undefined>()
    const timer = this.#d.runtime.after(federationLimits.lentAliveMs, () => silent.resolve(undefined))
    // whoever reads may have left before it ends
    next.catch(() => {})
    try {
      return await Promise.race([next, silent.promise])
    } finally {
      timer.cancel()
    }
  }

  async #attest(
    { message, hash }: Signed<'assignment/1'>,
    { sent }: LentSink,
    said: {
      usage: { prompt: number; completion: number }
      finish: string
      sampler: 'sampler/1' | 'native' | 'upstream'
    },
  ): Promise<Buffer> {
    const { model, digest, decode, prefix } = message
    const worker = sha256(this.#d.pool.publicKey)
    const made = { sent: sent.digest(), tokens: sent.pieces, kernel: null, ...said }
    const bytes = encodeOwnMessage('worker-statement/1', {
      assignment: hash,
      worker,
      model,
      digest,
      decode,
      prefix,
      ...made,
    })
    return encodeSigned({ bytes, signature: await this.#signer.sign('worker-statement/1', bytes) })
  }

  #assignmentOf(
    wire: Buffer,
    { poolKey, kind, salt, body }: { poolKey: Buffer; kind: Assignment['kind']; salt: Buffer; body: Buffer },
  ): Signed<'assignment/1'> {
    const decoded = decodeSigned(wire, 'assignment/1')
    if (!decoded.ok)
      throw new PoolError('assignment_refused', `The assignment ${decoded.problem}.`, 'Nothing was computed.')
    const { message } = decoded.signed
    const { model, digest, choice, seed, maxTokens } = message
    const refusal = checkAssignment(decoded.signed, {
      checker: this.#checker,
      now: this.#d.runtime.now(),
      poolKey,
      workerKey: this.#d.pool.publicKey,
      // what is computed is what the assignment says: only the body and its kind come beside it
      dispatch: { kind, model, digest, choice, seed, maxTokens, resumed: 0, salt, body },
    })
    if (refusal) throw PoolError.from(refusal)
    return decoded.signed
  }

  /** As if a client of this pool had asked, at these prices, and for nobody but this pool's own workers. */
  #request(kind: 'chat' | 'completion', body: Buffer, model: string, peer: PoolId, prices: Prices): AcceptedRequest {
    const parsed = parseOpenAiRequest(kind, body)
    if (!parsed.ok) throw PoolError.from(parsed.refusal)
    const request = parsed.request as OpenAiRequests[typeof kind]
    const needs = featuresNeeded(kind, request)
    const accepted = toAcceptedRequest(kind, request, {
      body,
      key: payerOf(peer, prices),
      order: undefined,
      model: chooseModel(this.#d.models, model, undefined, needs),
      needs,
      wishes: { assurance: { level: 'sampled', explicit: false }, privacy: 'standard', seed: undefined },
      idempotency: undefined,
    })
    if (accepted.choices !== 1)
      throw new PoolError('unsupported_parameter', 'A lent job has one choice.', 'Ask for one.', { param: 'n' })
    return accepted
  }

  async #accept({ originRequestId, request }: Wanted, peer: PoolId, sink: LentSink): Promise<JobHandle> {
    const { books, jobs } = this.#d
    const { prompt = 0n, completion = 0n } = request.key.lent?.prices ?? {}
    const cap = BigInt(request.promptBytes + 16 * request.messages) * prompt + BigInt(request.maxTokens) * completion
    const taken = await books.reserve(peer, originRequestId, cap)
    if (taken === 'again')
      throw new PoolError('conflict', 'This request was made before.', 'Give each request an id of its own.')
    if (taken === 'credit')
      throw new PoolError('insufficient_credit', 'Your pool owes this one as much as it may.', 'Settle first.')
    try {
      const handle = await jobs.accept(request, sink)
      await books.accepted(peer, originRequestId, handle.id)
      return handle
    } catch (error) {
      await books.forget(peer, originRequestId)
      throw error
    }
  }
}

/** A pool stands in the queue behind this pool's own people. */
const peerWeight = 0.5

function payerOf(peer: PoolId, prices: Prices): Payer {
  return {
    id: `peer:${peer}`,
    weight: peerWeight,
    account: `peer:${peer}`,
    payerKey: null,
    payerSignature: 'optional',
    budgetTotal: null,
    budgetPerDay: null,
    requestsPerMinute: null,
    tokensPerMinute: null,
    lent: { prices },
  }
}

/** As far as this pool can say for its workers. */
function samplerOf(digest: Buffer | null, { needs }: AcceptedRequest): 'sampler/1' | 'native' | 'upstream' {
  if (digest === null) return 'upstream'
  return needs.includes('json_schema') || needs.includes('tools') ? 'native' : 'sampler/1'
}
