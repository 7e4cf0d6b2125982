import { observabilityLimits } from './limits.ts'

/** Sets a timer; handed in, so that a test can move time. */
export type After = (ms: number, run: () => void) => unknown

/**
 * Says a thing that may come in floods: the first of its kind at once, then once a minute how many more there were. A kind
 * that was silent for a minute is new again. Beyond so many kinds at a time, the rest are counted together.
 */
export class OnceThenCounts<Kind extends object> {
  readonly #after: After
  readonly #rest: Kind
  readonly #say: (kind: Kind, times: number) => void
  #counts = new Map<string, { readonly kind: Kind; more: number }>()
  #ticking = false

  /** `rest`: the kind of all beyond `kindsMax`. `say`: `times` is 1 at once, and how many more a minute later. */
  constructor(after: After, rest: Kind, say: (kind: Kind, times: number) => void) {
    this.#after = after
    this.#rest = rest
    this.#say = say
  }

  happened(kind: Kind): void {
    const name = JSON.stringify(kind)
    const known = this.#counts.get(name)
    if (known) known.more++
    else if (this.#counts.size < observabilityLimits.floodKindsMax) this.#begin(name, kind)
    else this.#overflow()
  }

  #begin(name: string, kind: Kind): void {
    this.#counts.set(name, { kind, more: 0 })
    this.#say(kind, 1)
    this.#tickLater()
  }

  /** Room for this one is always kept: it is one. */
  #overflow(): void {
    const name = JSON.stringify(this.#rest)
    const known = this.#counts.get(name)
    if (known) known.more++
    else this.#counts.set(name, { kind: this.#rest, more: 1 })
  }

  #tickLater(): void {
    if (this.#ticking) return
    this.#ticking = true
    this.#after(observabilityLimits.floodCountMs, () => this.#tick())
  }

  #tick(): void {
    this.#ticking = false
    const still = [...this.#counts].filter(([, { more }]) => more > 0)
    for (const [, { kind, more }] of still) this.#say(kind, more)
    this.#counts = new Map(still.map(([name, { kind }]) => [name, { kind, more: 0 }]))
    if (still.length > 0) this.#tickLater()
  }
}
