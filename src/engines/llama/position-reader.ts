import type { Token as TokenId } from 'node-llama-cpp'
import { type DrawnToken, type PositionEvidence, protocolLimits } from '#protocol'
import { choiceMargin } from '../choice-margin.ts'
import { type Candidate, candidatesOf, chooseToken, gumbelNoise } from '../sampler.ts'
import type { CheckPlan } from './check-plan.ts'
import { type Depth, likeliestMax, type Probabilities } from './read-logits.ts'

const { logitMin } = protocolLimits

/** Turns what the model expected at a position into evidence about the token committed there. */
export class PositionReader {
  /** What a position needs: a bias may lift any token into the sampler's choice. */
  readonly depth: Depth
  readonly #plan: CheckPlan
  readonly #endIds: ReadonlySet<number>
  readonly #top: number
  /** How often each token stands before `#countedTo`. */
  readonly #counts = new Map<number, number>()
  #countedTo = 0

  constructor(plan: CheckPlan, endIds: readonly number[], top: number) {
    this.#plan = plan
    this.#endIds = new Set(endIds)
    this.#top = top
    this.depth = [...plan.answer.settings.bias.values()].some((value) => value > 0) ? 'all' : 'likeliest'
  }

  read(position: number, probabilities: Probabilities): PositionEvidence {
    const atEnd = position === this.#plan.endAt
    const committed = this.#plan.tokens[this.#plan.answer.prompt.length + position] ?? -1
    const chosen = atEnd ? this.#endIds : new Set([committed])
    const logits = this.#logits(probabilities, chosen)
    const judged = [...chosen].map((id) => this.#judge(position, logits, id))
    const best = judged.sort((a, b) => a.margin - b.margin || b.chosen.logit - a.chosen.logit)[0]
    if (!best) throw new Error('the model has no token that ends an answer')
    return best
  }

  #judge(position: number, logits: readonly Candidate[], chosen: number): PositionEvidence {
    const { settings, key } = this.#plan.answer
    const counts = this.#countsAt(position)
    const choice = chooseToken(candidatesOf(logits, settings.bias), settings, counts, key, position)
    return {
      position,
      chosen: this.#drawn(position, logits, chosen),
      choice: this.#drawn(position, logits, choice),
      margin: choiceMargin(logits, chosen, settings, counts, key, position),
      top: logits.slice(0, this.#top),
    }
  }

  /** The likeliest, those a bias lifts, and those in question. One that was not read counts as the last that was. */
  #logits(probabilities: Probabilities, chosen: ReadonlySet<number>): Candidate[] {
    const { bias } = this.#plan.answer.settings
    const missing = new Set(chosen)
    const logits: Candidate[] = []
    let largest = 0
    let rank = 0
    let logit = 0
    for (const [id, probability] of probabilities) {
      if (rank === 0) largest = probability
      const among = rank++ < likeliestMax || (bias.get(id) ?? 0) > 0
      if (!among && !chosen.has(id)) continue
      logit = Math.max(logitMin, Math.log(probability / largest))
      logits.push({ id, logit })
      missing.delete(id)
    }
    for (const id of missing) logits.push({ id: id as TokenId, logit })
    return logits
  }

  #drawn(position: number, logits: readonly Candidate[], id: number): DrawnToken {
    const { settings, key } = this.#plan.answer
    const logit = logits.find((one) => one.id === id)?.logit ?? logitMin
    return { id, logit, noise: settings.temperature > 0 ? gumbelNoise(key, position, id) : 0 }
  }

  /** Positions come in ascending order, twice at most. */
  #countsAt(position: number): ReadonlyMap<number, number> {
    const { answer, tokens } = this.#plan
    if (position < this.#countedTo) {
      this.#counts.clear()
      this.#countedTo = 0
    }
    for (; this.#countedTo < position; this.#countedTo++) {
      const id = tokens[answer.prompt.length + this.#countedTo]
      if (id !== undefined) this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1)
    }
    return this.#counts
  }
}
