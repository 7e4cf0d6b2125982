import type { UsageClaim } from '#protocol'
import type { AcceptedRequest } from './accepted-request.ts'

/** An answer of unknown length, before any was seen. */
const answerTokensAtFirst = 128
/** Weight of one new observation in the running averages. */
const novelty = 1 / 32
/** Reading a prompt token costs about an eighth of generating one (batched against one by one). */
const promptShare = 1 / 8
const bytesPerToken = 4

/**
 * What runs will cost and how fast they end, from what was seen. The unit of cost is one generated token, so that fair
 * shares are shares of work, not of requests (Sheng et al. 2024, "Fairness in serving large language models").
 */
export class WorkEstimate {
  #answerTokens = answerTokensAtFirst
  #newRuns = 0
  /** Of about the last minute, older ones fading. */
  #runs = 0
  #seconds = 0
  #tickedAt: number | undefined

  /** Expected cost of one choice; always positive. */
  of(request: Pick<AcceptedRequest, 'promptBytes' | 'maxTokens'>): number {
    return 1 + (request.promptBytes / bytesPerToken) * promptShare + Math.min(request.maxTokens, this.#answerTokens)
  }

  /** Cost of a whole job by its counted usage. */
  spent(usage: UsageClaim): number {
    return 1 + usage.promptTokens * promptShare + usage.completionTokens
  }

  ended(runs: number, usage: UsageClaim, completed: boolean): void {
    this.#newRuns += runs
    if (completed && usage.completionTokens > 0) {
      this.#answerTokens += (usage.completionTokens / runs - this.#answerTokens) * novelty
    }
  }

  /** Folds the last seconds into the pace; monotonic milliseconds. */
  tick(now: number): void {
    this.#tickedAt ??= now
    const seconds = (now - this.#tickedAt) / 1_000
    if (seconds < 1) return
    this.#tickedAt = now
    const kept = Math.exp(-seconds / 60)
    this.#runs = this.#runs * kept + this.#newRuns
    this.#seconds = this.#seconds * kept + seconds
    this.#newRuns = 0
  }

  /** How long `runs` take at the pace of the last minute, 1 to 60 s. */
  waitMs(runs: number): number {
    const seconds = this.#runs > 0 ? (runs * this.#seconds) / this.#runs : 5
    return Math.round(Math.min(60, Math.max(1, seconds)) * 1_000)
  }
}
