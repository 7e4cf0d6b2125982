import type { AssuranceLevel } from '#protocol'
import type { Lane } from '#scheduler'
import type { Roster } from './roster.ts'

/** Several workers of distinct operators that may compute one answer side by side. */
export interface Company {
  /** Workers that must agree. */
  readonly size: number
  /** The model file all of them have. */
  readonly digest: string
  /** The kernel class all of them have; undefined where margins decide. */
  readonly kernel: string | undefined
}

/** Why there is no such company, as a word for machines and a sentence. */
export interface NoCompany {
  readonly reason: 'no_model_file' | 'no_second_operator' | 'kernel_class_unknown' | 'no_same_class_pair'
  readonly message: string
}

/** Worker ids by operator. */
export type ByOperator = ReadonlyMap<string, readonly string[]>

/** Who shares a model file, and who a kernel class with it. */
interface Kin {
  readonly digest: string
  readonly operators: Set<string>
  readonly byKernel: Map<string, Set<string>>
}

/**
 * Who could compute together. What a lane holds is counted when somebody asks and again once a worker came, went or changed: O(workers of the lane) then, and
 * nothing for requests that want no company.
 */
export class Companies {
  readonly #roster: Roster
  readonly #kin = new WeakMap<Lane, { readonly version: number; readonly kin: readonly Kin[] }>()
  readonly #byOperator = new WeakMap<Lane, { readonly version: number; readonly byOperator: ByOperator }>()

  constructor(roster: Roster) {
    this.#roster = roster
  }

  /** The best company of this size among the workers of a lane. `byMargin`: answers of different kernel classes can be compared. */
  find(lane: Lane, level: AssuranceLevel, size: number, byMargin: boolean): Company | NoCompany {
    const kin = this.#kinOf(lane)
    if (kin.length === 0) return noModelFile
    let exact: (Company & { readonly operators: number }) | undefined
    let mixed: (Company & { readonly operators: number }) | undefined
    for (const { digest, operators, byKernel } of kin) {
      if (operators.size > (mixed?.operators ?? size - 1)) {
        mixed = { size, digest, kernel: undefined, operators: operators.size }
      }
      for (const [kernel, { size: count }] of byKernel) {
        if (count > (exact?.operators ?? size - 1)) exact = { size, digest, kernel, operators: count }
      }
    }
    const found = exact ?? (byMargin && level !== 'deterministic' ? mixed : undefined)
    if (found) return { size, digest: found.digest, kernel: found.kernel }
    if (!mixed) return noSecondOperator(size)
    return kin.some(({ byKernel }) => byKernel.size > 0) ? noPair(size) : classUnknown
  }

  /** The workers of a lane by operator. */
  byOperator(lane: Lane): ByOperator {
    const known = this.#byOperator.get(lane)
    if (known?.version === this.#roster.version) return known.byOperator
    const byOperator = new Map<string, string[]>()
    for (const id of lane.workerIds()) {
      const operator = this.#roster.get(id)?.operator
      if (operator === undefined) continue
      const ids = byOperator.get(operator)
      if (ids) ids.push(id)
      else byOperator.set(operator, [id])
    }
    this.#byOperator.set(lane, { version: this.#roster.version, byOperator })
    return byOperator
  }

  #kinOf(lane: Lane): readonly Kin[] {
    const known = this.#kin.get(lane)
    if (known?.version === this.#roster.version) return known.kin
    const byDigest = new Map<string, Kin>()
    for (const id of lane.workerIds()) {
      const found = this.#roster.offerFor(id, lane)
      if (!found || found.offer.digest === null) continue
      const { digest } = found.offer
      const kin = byDigest.get(digest) ?? { digest, operators: new Set(), byKernel: new Map() }
      byDigest.set(digest, kin)
      kin.operators.add(found.worker.operator)
      const { kernel } = found
      if (kernel !== undefined)
        kin.byKernel.set(kernel, (kin.byKernel.get(kernel) ?? new Set()).add(found.worker.operator))
    }
    const kin = [...byDigest.values()]
    this.#kin.set(lane, { version: this.#roster.version, kin })
    return kin
  }
}

const noModelFile: NoCompany = {
  reason: 'no_model_file',
  message: 'only upstreams without a model file to name offer the model now, and their answers cannot be compared.',
}
const noSecondOperator = (size: number): NoCompany => ({
  reason: 'no_second_operator',
  message: `fewer than ${size} operators lend this model file now.`,
})
const noPair = (size: number): NoCompany => ({
  reason: 'no_same_class_pair',
  message: `fewer than ${size} operators lend this model file on machines whose arithmetic is the same.`,
})
const classUnknown: NoCompany = {
  reason: 'kernel_class_unknown',
  message: 'the pool has not yet measured whose arithmetic is the same.',
}
