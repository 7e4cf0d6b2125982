import type { Runtime } from '#runtime'
import { engineLimits } from '../limits.ts'

/** Requests that were being computed when an engine process died, by fingerprint, and how often in a row. */
export class Suspects {
  readonly #runtime: Runtime
  readonly #seen = new Map<string, { deaths: number; until: number }>()

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** A process died with these requests on it; the same request on it several times counts once. */
  died(fingerprints: Iterable<string>): void {
    const until = this.#runtime.monotonic() + engineLimits.suspectMsMax
    for (const fingerprint of new Set(fingerprints)) {
      const deaths = this.#deaths(fingerprint) + 1
      this.#seen.delete(fingerprint) // back to the end of the line: the first one is the one to forget
      this.#seen.set(fingerprint, { deaths, until })
    }
    for (const first of this.#seen.keys()) {
      if (this.#seen.size <= engineLimits.suspectsMax) break
      this.#seen.delete(first)
    }
  }

  /** The request was answered: it kills no engine. */
  cleared(fingerprint: string): void {
    this.#seen.delete(fingerprint)
  }

  /** Whether it has taken so many processes with it that it is not computed again. */
  convicted(fingerprint: string): boolean {
    return this.#deaths(fingerprint) >= engineLimits.suspectDeathsMax
  }

  #deaths(fingerprint: string): number {
    const seen = this.#seen.get(fingerprint)
    if (seen && seen.until > this.#runtime.monotonic()) return seen.deaths
    this.#seen.delete(fingerprint)
    return 0
  }
}
