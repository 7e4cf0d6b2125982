import { type Agreement, agreementOf, type Relation } from './agreement.ts'
import type { Choice } from './choice.ts'
import type { PanelLook } from './look-mutually.ts'

/**
 * One choice that several workers of distinct operators compute side by side, each for itself.
 *
 *   computing ──k agree──▶ agreed ──bucket of time is full──▶ shown
 *       ▲  └─differ─▶ one more is asked      └─ too many differ: the job fails and nobody is paid
 *       └──────┘
 *
 * Answers of one kernel class agree when they are the same to the last byte; of others when each worker, looking at the other's, finds it is what its
 * own model gives but for numeric noise.
 */
export class Panel {
  /** Of the choice, as the client counts. */
  readonly index: number
  /** Workers that must agree. */
  readonly size: number
  /** In the order they were asked. */
  readonly members: Choice[] = []
  agreed: Extract<Agreement<Choice>, { verdict: 'agreed' }> | undefined
  /** Its job is over: nobody needs to look any longer. */
  readonly stop = new AbortController()
  /** What its workers found of each other's answers. */
  readonly looks: PanelLook[] = []
  /** What was found where answers differ and margins decide. */
  readonly #related = new Map<Choice, Map<Choice, Relation>>()
  #attempts = 0

  constructor(index: number, size: number) {
    this.index = index
    this.size = size
  }

  /** Attempts of all members are numbered together: they are segments of one choice. */
  nextAttempt(): number {
    return this.#attempts++
  }

  /** What follows from the answers that are whole. */
  decide(): Agreement<Choice> {
    const { whole } = this
    const found = agreementOf(whole, this.members.length - whole.length, this.size, (a, b) => this.#relationOf(a, b))
    if (found.verdict === 'agreed') this.agreed = found
    return found
  }

  /** Those whose answers are whole and not the same, and of whom nothing is known yet, each two once. */
  unrelated(): (readonly [Choice, Choice])[] {
    const { whole } = this
    return whole.flatMap((one, n) =>
      whole.slice(n + 1).flatMap((other) => {
        return isSame(one, other) || this.#known(one, other) ? [] : [[one, other] as const]
      }),
    )
  }

  relate(one: Choice, other: Choice, relation: Relation, looks: readonly PanelLook[] = []): void {
    this.looks.push(...looks)
    const of = this.#related.get(one) ?? new Map<Choice, Relation>()
    this.#related.set(one, of.set(other, relation))
  }

  get whole(): readonly Choice[] {
    return this.members.filter(({ finish }) => finish !== undefined)
  }

  #known(one: Choice, other: Choice): Relation | undefined {
    return this.#related.get(one)?.get(other) ?? this.#related.get(other)?.get(one)
  }

  #relationOf(one: Choice, other: Choice): Relation {
    return isSame(one, other) ? 'agree' : (this.#known(one, other) ?? 'differ')
  }

  /** Whether an operator computes it already, or has. */
  hasOther(member: Choice, operator: string): boolean {
    return this.members.some((other) => other !== member && other.operator === operator)
  }

  /** The answer that is shown. */
  get winner(): Choice | undefined {
    return this.agreed?.agreeing[0]
  }

  /** Those who are paid: who agreed; before that, those who were asked first. */
  get paid(): readonly Choice[] {
    return this.agreed ? this.agreed.agreeing.slice(0, this.size) : this.members.slice(0, this.size)
  }
}

const isSame = (one: Choice, other: Choice) => nameOf(one) === nameOf(other)
/** All that was sent, and why it ended. */
const nameOf = (choice: Choice) => `${choice.attempts.at(-1)?.hash.digest().toString('hex')} ${choice.finish}`
