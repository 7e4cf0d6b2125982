import { type Agreement, agreementOf } from './agreement.ts'
import type { Choice } from './choice.ts'

/**
 * One choice that several workers of distinct operators compute side by side, each for itself.
 *
 *   computing ──k agree──▶ agreed ──bucket of time is full──▶ shown
 *       ▲  └─differ─▶ one more is asked      └─ too many differ: the job fails and nobody is paid
 *       └──────┘
 */
export class Panel {
  /** Of the choice, as the client counts. */
  readonly index: number
  /** Workers that must agree. */
  readonly size: number
  /** In the order they were asked. */
  readonly members: Choice[] = []
  agreed: Extract<Agreement<Choice>, { verdict: 'agreed' }> | undefined
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
    const whole = this.members.flatMap((item) => (item.finish ? [{ item, same: nameOf(item) }] : []))
    const found = agreementOf(whole, this.members.length - whole.length, this.size)
    if (found.verdict === 'agreed') this.agreed = found
    return found
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

/** All that was sent, and why it ended. */
const nameOf = (choice: Choice) => `${choice.attempts.at(-1)?.tree.root().toString('hex')} ${choice.finish}`
