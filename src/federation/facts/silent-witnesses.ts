import type { PoolId } from '#protocol'
import { factLimits } from '../limits.ts'

export interface Silence {
  readonly witness: PoolId
  /** When it was first found not to have signed, milliseconds of the clock that measures and is not set. */
  readonly since: number
}

/**
 * Which witnesses have not signed what this pool's log has come to. One that is away for a moment is nothing; one that stays away
 * vouches for nothing that happens meanwhile, and a history rewritten from there on is caught by the others alone.
 */
export class SilentWitnesses {
  readonly #waiting = new Map<PoolId, { readonly since: number; told: boolean }>()

  /** It has not signed. Whether it is silent from now on. */
  missed(witness: PoolId, nowMs: number): boolean {
    const wait = this.#waiting.get(witness) ?? { since: nowMs, told: false }
    this.#waiting.set(witness, wait)
    if (wait.told || nowMs - wait.since < factLimits.witnessSilentMs) return false
    wait.told = true
    return true
  }

  /** It has signed, or said why not. Whether it was silent. */
  spoke(witness: PoolId): boolean {
    const told = this.#waiting.get(witness)?.told === true
    this.#waiting.delete(witness)
    return told
  }

  /** Who is no witness any more is not waited for. */
  keep(witnesses: ReadonlySet<PoolId>): void {
    for (const one of [...this.#waiting.keys()]) if (!witnesses.has(one)) this.#waiting.delete(one)
  }

  list(): Silence[] {
    return [...this.#waiting].flatMap(([witness, { since, told }]) => (told ? [{ witness, since }] : []))
  }
}
