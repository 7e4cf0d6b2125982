import { type Identity, identityFromSeed, sha256 } from '#crypto'
import { systemRuntime } from '#runtime'
import { type Database, part } from '#storage'
import { Standings } from '#verification'
import type { Acts } from '../verification/acts.ts'
import { type Checks, openChecks } from '../verification/open-checks.ts'
import type { KeptAnswer } from '../verification/transcript.ts'
import type { LookAsk } from '../verification/verifiers.ts'
import { signedLook } from './signed-look.ts'
import { SmallPool } from './small-pool.ts'
import { testPool } from './with-papers.ts'

/** What a small verifier says of what it is asked; a number: the margin of every position. */
export type SmallOpinion = (ask: LookAsk) => 'clean' | 'hit' | number

/** Whoever has such a name with a model. */
export const smallWorker = (model: string, name: string): Identity =>
  identityFromSeed(sha256(Buffer.from(`${model} ${name}`)))

/** The whole of a pool's checks on a real database; verifiers are small, and what follows from a conviction is only written down. */
export class SmallChecks implements AsyncDisposable {
  readonly pool: SmallPool
  readonly checks: Checks
  /** Looks that were asked for, and acts that were done, in order. */
  readonly asked: { readonly worker: string; readonly replay: LookAsk['replay'] }[]
  readonly done: string[]
  /** Jobs that were to be paid back, each time somebody was told so. */
  readonly refunds: { readonly worker: string; readonly jobs: readonly string[] }[]
  readonly #database: Database
  readonly #standings: Standings
  readonly #verifiers: Map<string, { readonly says: SmallOpinion; readonly identity: Identity }>
  readonly #kernels: Map<string, string>

  private constructor(
    parts: Pick<SmallChecks, 'pool' | 'checks' | 'asked' | 'done' | 'refunds'>,
    standings: Standings,
    more: {
      database: Database
      verifiers: Map<string, { readonly says: SmallOpinion; readonly identity: Identity }>
      kernels: Map<string, string>
    },
  ) {
    this.pool = parts.pool
    this.checks = parts.checks
    this.asked = parts.asked
    this.done = parts.done
    this.refunds = parts.refunds
    this.#database = more.database
    this.#standings = standings
    this.#verifiers = more.verifiers
    this.#kernels = more.kernels
  }

  static async open(database: Database): Promise<SmallChecks> {
    const pool = await SmallPool.open(database, { audited: false })
    const standings = await Standings.open({ database, runtime: systemRuntime })
    const [asked, done] = [[] as { worker: string; replay: LookAsk['replay'] }[], [] as string[]]
    const refunds: SmallChecks['refunds'] = []
    const verifiers = new Map<string, { says: SmallOpinion; identity: Identity }>()
    const kernels = new Map<string, string>()
    const act = (name: string) => async (about: { workerId: string }) => {
      done.push(`${name} ${about.workerId}`)
    }
    const acts: Acts = {
      payBack: act('pay back'),
      pauseReleases: act('pause'),
      resumeReleases: act('resume'),
      freeze: act('freeze'),
      slash: act('slash'),
      async refundUsers({ workerId, jobs }) {
        done.push(`refund ${workerId}`)
        refunds.push({ worker: workerId, jobs: [...jobs].sort() })
      },
      blockOperator: act('block'),
    }
    const checks = await openChecks({
      database,
      commit: pool.commit,
      runtime: systemRuntime,
      standings,
      verifiers: {
        check(worker: string, ask: LookAsk) {
          asked.push({ worker, replay: ask.replay })
          const verifier = verifiers.get(worker)
          if (!verifier) throw new Error('nobody of that name is here')
          return lookOf(verifier.identity, verifier.says(ask), ask)
        },
      },
      acts,
      pool: testPool,
      logStage: pool.log.stage,
      operatorOf: async () => undefined,
      kernelOf: (worker) => kernels.get(worker),
      events: {},
    })
    return new SmallChecks({ pool, checks, asked, done, refunds }, standings, { database, verifiers, kernels })
  }

  /** Verifiers of one model, each of an operator of its own name. */
  join(
    model: string,
    people: Record<string, SmallOpinion>,
    kernels: Record<string, string> = {},
    digest: string | null = smallFile(model),
  ): void {
    for (const [name, kernel] of Object.entries(kernels)) this.#kernels.set(smallWorker(model, name).id, kernel)
    for (const [name, says] of Object.entries(people)) {
      const identity = smallWorker(model, name)
      const { id } = identity
      this.#verifiers.set(id, { says, identity })
      const offers = [{ name: model, digest, features: ['continue'] }]
      this.checks.workerAvailable({ id, operator: name, features: ['verify'], offers, draining: false })
    }
  }

  /** An answer of `mallory` or somebody else, settled as jobs do it; the id of its job. */
  async answered(model: string, more: Partial<KeptAnswer> = {}, by = 'mallory'): Promise<string> {
    const jobId = systemRuntime.uuid()
    const at = systemRuntime.now()
    const tokens = [1, 2, 3, 4].map((id) => ({ id, piece: Buffer.from('a') }))
    const answer = { ...emptyAnswer(model), tokens, ...more }
    const workerId = smallWorker(model, by).id
    const statement = systemRuntime.randomBytes(64)
    const segments = [
      { choice: 0, attempt: 0, workerId, digest: answer.digest, statement, unfit: null, answer: () => answer },
    ]
    const sampling = this.checks.intake.sample(at)
    const { commit, log } = this.pool
    await commit.submit([
      part(log.stage, { kind: 'receipt', ref: jobId, data: Buffer.from(`receipt of ${jobId}`) }),
      ...this.checks.intake.settle({ jobId, model, sampling, at, unchecked: null, segments }),
    ])
    return jobId
  }

  /** What an admin's reset does, without its act. */
  async reset(model: string, name: string): Promise<void> {
    await this.#database.transaction((tx) => this.#standings.reset(tx, smallWorker(model, name).id))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.checks[Symbol.asyncDispose]()
    this.#standings[Symbol.dispose]()
    await this.pool[Symbol.asyncDispose]()
  }
}

export const smallFile = (model: string): string => sha256(Buffer.from(`file of ${model}`)).toString('hex')

export const emptyAnswer = (model: string): KeptAnswer => ({
  kind: 'chat',
  model,
  digest: smallFile(model),
  choice: 0,
  seed: '00'.repeat(32),
  maxTokens: 4,
  contextTokens: 512,
  decode: 'batched',
  finish: 'length',
  promptClaim: 9,
  body: Buffer.from('{}'),
  tokens: [],
})

/** Evidence in the form of a real one, under a real signature. */
function lookOf(identity: Identity, says: 'clean' | 'hit' | number, { tokens }: LookAsk) {
  const margin = typeof says === 'number' ? says : says === 'hit' ? 3 : 0
  const positions = tokens.map((_, position) => ({ position, margin }))
  const ending = { shown: 'length' as const, end: undefined }
  const seen = { promptTokens: 9, completionTokens: tokens.length, wrongPieces: [], unknownAt: undefined }
  const found = Buffer.from(String(says))
  return {
    committed: Promise.resolve({ wire: signedLook(identity, found) }),
    reveal: async () => ({ evidence: { ...seen, positions, ending }, bytes: found }),
  }
}
