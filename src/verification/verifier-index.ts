import type { Candidate } from './choose-verifiers.ts'

/** What is read of a connected worker. */
export interface VerifyingWorker {
  readonly id: string
  readonly operator: string
  readonly features: readonly string[]
  readonly offers: readonly { readonly name: string; readonly digest: string | null }[]
  readonly draining: boolean
}

/** Of the worker protocol: it can look at others' answers. */
const verifyFeature = 'verify'
/** Whom the pool's own workers belong to: they are its reference engine. */
const ownOperator = 'self'

/** Which connected workers can look at an answer: those with the same model file that can verify, of whatever operator. */
export class VerifierIndex {
  readonly #workers = new Map<string, VerifyingWorker>()
  /** Who was ever here: an answer may be settled after its worker left. */
  readonly #operators = new Map<string, string>()
  /** By model file. */
  readonly #byFile = new Map<string, Map<string, Candidate>>()
  /** By model name, how many verifying workers of each operator offer it. */
  readonly #operatorsOf = new Map<string, Map<string, number>>()
  readonly #mayVerify: (workerId: string, model: string) => boolean

  constructor(mayVerify: (workerId: string, model: string) => boolean) {
    this.#mayVerify = mayVerify
  }

  put(worker: VerifyingWorker): void {
    this.remove(worker.id)
    this.#operators.set(worker.id, worker.operator)
    if (!worker.features.includes(verifyFeature) || worker.draining) return
    this.#workers.set(worker.id, worker)
    for (const { digest, name } of worker.offers) {
      if (digest === null) continue
      this.#count(name, worker.operator, 1)
      const file = this.#byFile.get(digest) ?? new Map<string, Candidate>()
      file.set(worker.id, { worker: worker.id, operator: worker.operator })
      this.#byFile.set(digest, file)
    }
  }

  remove(id: string): void {
    const worker = this.#workers.get(id)
    this.#workers.delete(id)
    if (!worker) return
    for (const { digest, name } of worker.offers) {
      if (digest === null) continue
      this.#count(name, worker.operator, -1)
      const file = this.#byFile.get(digest)
      file?.delete(id)
      if (file?.size === 0) this.#byFile.delete(digest)
    }
  }

  /** The operator of a worker that is or was here. */
  operatorOf(id: string): string | undefined {
    return this.#operators.get(id)
  }

  /** Who could look, whoever is asked about left out by the caller. */
  candidates(model: string, digest: string | null): Candidate[] {
    const all = [...(this.#byFile.get(digest ?? '')?.values() ?? [])]
    return all.filter(({ worker }) => this.#mayVerify(worker, model))
  }

  /** The name under which a verifier offers the file. */
  nameFor(worker: string, digest: string): string | undefined {
    return this.#workers.get(worker)?.offers.find((offer) => offer.digest === digest)?.name
  }

  /** Whether answers with this model are checked at all: workers of two operators have it. */
  isChecked(model: string): boolean {
    return (this.#operatorsOf.get(model)?.size ?? 0) > 1
  }

  /** Whether the pool's own engine has the model: it may look at what no other worker may see. */
  hasOwn(model: string): boolean {
    return this.#operatorsOf.get(model)?.has(ownOperator) ?? false
  }

  /** The pool's own worker with this file, unless it is the one in question. */
  reference(model: string, digest: string | null, workerId: string): Candidate | undefined {
    return this.candidates(model, digest).find(
      ({ worker, operator }) => operator === ownOperator && worker !== workerId,
    )
  }

  #count(model: string, operator: string, change: 1 | -1): void {
    const operators = this.#operatorsOf.get(model) ?? new Map<string, number>()
    const count = (operators.get(operator) ?? 0) + change
    if (count > 0) operators.set(operator, count)
    else operators.delete(operator)
    if (operators.size > 0) this.#operatorsOf.set(model, operators)
    else this.#operatorsOf.delete(model)
  }
}
