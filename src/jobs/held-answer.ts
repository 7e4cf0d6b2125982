import type { FinishReason, Token } from '#protocol'
import type { JobSink } from './job-sink.ts'

/** What a choice says to whoever asked. */
export type ChoiceSink = Pick<JobSink, 'text' | 'delta' | 'choiceEnd'>

/** An answer that is kept until it may be shown. In memory only, bounded by the run's own limits. */
export class HeldAnswer implements ChoiceSink {
  readonly #said: ((sink: ChoiceSink) => void)[] = []

  text(choice: number, text: string, tokens: readonly Token[]): void {
    // Pieces are views of received messages; they are kept only where somebody will read them.
    const kept = tokens.some((token) => token.logprob !== undefined) ? tokens : []
    this.#said.push((sink) => sink.text(choice, text, kept))
  }

  delta(choice: number, delta: Record<string, unknown>): void {
    this.#said.push((sink) => sink.delta(choice, delta))
  }

  choiceEnd(choice: number, finish: FinishReason): void {
    this.#said.push((sink) => sink.choiceEnd(choice, finish))
  }

  /** Says all of it, in order. */
  show(sink: ChoiceSink): void {
    for (const say of this.#said) say(sink)
  }
}
