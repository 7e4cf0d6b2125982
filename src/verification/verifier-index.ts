import type { Candidate } from './choose-verifiers.ts'

/** What is read of one of its models. */
interface VerifyingOffer {
  readonly name: string
  readonly digest: string | null
  readonly features?: readonly string[] | undefined
}

/** What is read of a connected worker. */
export interface VerifyingWorker {
  readonly id: string
  readonly operator: string
  readonly features: readonly string[]
  readonly offers: readonly VerifyingOffer[]
  readonly draining: boolean
}

/** Of the worker protocol: it can look at others' answers. */
const verifyFeature = 'verify'
/** Whom the pool's own workers belong to: they are its reference engine. */
const ownOperator = 'self'

/** Answers of upstreams have no file: who goes on with a begun answer under the same name can look at them. */
const continueFeature = 'continue'
const keyOf = ({ name, digest }: Pick<VerifyingOffer, 'name' | 'digest'>) => digest ?? `=${name}`

/** Which connected workers can look at an answer: those with the same model file that can verify, of whatever operator. */
export class VerifierIndex {
  readonly #workers = new Map<string, VerifyingWorker>()
  /** Who was ever here: an answer may be settled after its worker left. */
  readonly #operators = new Map<string, string>()
  /** By model file, or name where there is none. */
  readonly #byFile = new Map<string, Map<string, Candidate>>()
  /** By model name, how many verifying workers of each operator offer it, and how many workers at all. */
  readonly #operatorsOf = new Map<string, Map<string, number>>()
  readonly #serving = new Map<string, number>()
  readonly #mayVerify: (workerId: string, model: string) => boolean

  constructor(mayVerify: (workerId: string, model: string) => boolean) {
    this.#mayVerify = mayVerify
  }

  put(worker: VerifyingWorker): void {
    this.remove(worker.id)
    this.#operators.set(worker.id, worker.operator)
    if (worker.draining) return
    this.#workers.set(worker.id, worker)
    for (const offer of worker.offers) {
      add(this.#serving, offer.name, 1)
      if (!canLook(worker, offer)) continue
      this.#count(offer.name, worker.operator, 1)
      const file = this.#byFile.get(keyOf(offer)) ?? new Map<string, Candidate>()
      file.set(worker.id, { worker: worker.id, operator: worker.operator })
      this.#byFile.set(keyOf(offer), file)
    }
  }

  remove(id: string): void {
    const worker = this.#workers.get(id)
    this.#workers.delete(id)
    if (!worker) return
    for (const offer of worker.offers) {
      add(this.#serving, offer.name, -1)
      if (!canLook(worker, offer)) continue
      this.#count(offer.name, worker.operator, -1)
      const file = this.#byFile.get(keyOf(offer))
      file?.delete(id)
      if (file?.size === 0) this.#byFile.delete(keyOf(offer))
    }
  }

  /** The operator of a worker that is or was here. */
  operatorOf(id: string): string | undefined {
    return this.#operators.get(id)
  }

  /** Who could look, whoever is asked about left out by the caller. */
  candidates(model: string, digest: string | null): Candidate[] {
    const all = this.#byFile.get(keyOf({ name: model, digest }))?.values() ?? []
    return [...all].filter(({ worker }) => this.#mayVerify(worker, model))
  }

  /** The name under which a verifier offers the file. */
  nameFor(worker: string, digest: string): string | undefined {
    return this.#workers.get(worker)?.offers.find((offer) => offer.digest === digest)?.name
  }

  /** Whether answers with this model are checked at all: workers of two operators can look. */
  isChecked(model: string): boolean {
    return (this.#operatorsOf.get(model)?.size ?? 0) > 1
  }

  /** Whether the pool's own engine can look at what another worker answers: it alone may see what no other worker may. */
  hasOwn(model: string): boolean {
    const own = this.#operatorsOf.get(model)?.has(ownOperator) ?? false
    return own && (this.#serving.get(model) ?? 0) > 1
  }

  /** Whether somebody of another operator can look at what this worker answers. */
  hasOthers(workerId: string, model: string, digest: string | null): boolean {
    const operator = this.#operators.get(workerId)
    return this.candidates(model, digest).some((one) => one.worker !== workerId && one.operator !== operator)
  }

  /** Whether the worker has the model from an upstream: of what it answers prefixes can be looked at and no more. */
  isUpstream(workerId: string, model: string): boolean {
    const offers = this.#workers.get(workerId)?.offers ?? []
    return offers.some(({ name, digest }) => name === model && digest === null)
  }

  /** The pool's own worker with this file, unless it is the one in question. */
  reference(model: string, digest: string | null, workerId: string): Candidate | undefined {
    return this.candidates(model, digest).find(
      ({ worker, operator }) => operator === ownOperator && worker !== workerId,
    )
  }

  #count(model: string, operator: string, change: 1 | -1): void {
    const operators = this.#operatorsOf.get(model) ?? new Map<string, number>()
    add(operators, operator, change)
    if (operators.size > 0) this.#operatorsOf.set(model, operators)
    else this.#operatorsOf.delete(model)
  }
}

function canLook({ features }: VerifyingWorker, offer: VerifyingOffer): boolean {
  return (
    features.includes(verifyFeature) && (offer.digest !== null || offer.features?.includes(continueFeature) === true)
  )
}

function add(counts: Map<string, number>, name: string, change: 1 | -1): void {
  const count = (counts.get(name) ?? 0) + change
  if (count > 0) counts.set(name, count)
  else counts.delete(name)
}
