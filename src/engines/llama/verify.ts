import { createHash } from 'node:crypto'
import type { LlamaContextSequence, Token as TokenId } from 'node-llama-cpp'
import type { CheckTask, Evidence, PositionEvidence } from '#protocol'
import { engineLimits } from '../limits.ts'
import { batchesOf } from './batches.ts'
import { type CheckPlan, planCheck } from './check-plan.ts'
import type { LoadedModel } from './loaded-model.ts'
import { PositionReader } from './position-reader.ts'
import { hashProbabilities, likeliestMax, type Probabilities, readLogits } from './read-logits.ts'

/** See `Engine.verify`. Rejects with the signal's reason at a batch's edge. */
export async function verify(model: LoadedModel, task: CheckTask, signal: AbortSignal): Promise<Evidence> {
  const plan = planCheck(model, task)
  const replay = new Replay(model, plan, task)
  await replay.read(signal)
  const { completionTokens, wrongPieces, unknownAt, shown, answer } = plan
  return {
    method: 'replay',
    promptTokens: answer.prompt.length,
    completionTokens,
    wrongPieces,
    unknownAt,
    positions: replay.positions(),
    ending: { shown, end: replay.at(plan.endAt) },
    logitsHash: replay.logitsHash(),
  }
}

/** One pass over prompt and answer, and a second one over the tokens that are not among the likeliest. */
class Replay {
  readonly #model: LoadedModel
  readonly #plan: CheckPlan
  readonly #isolated: boolean
  readonly #reader: PositionReader
  readonly #found = new Map<number, PositionEvidence>()
  readonly #lookups = new Set<number>()
  readonly #hash = createHash('sha256').update('lichen/replay/1')

  constructor(model: LoadedModel, plan: CheckPlan, task: CheckTask) {
    this.#model = model
    this.#plan = plan
    this.#isolated = task.replay === 'isolated'
    this.#reader = new PositionReader(plan, model.vocabulary.endIds(), task.top)
  }

  at(position: number | undefined): PositionEvidence | undefined {
    return position === undefined ? undefined : this.#found.get(position)
  }

  positions(): PositionEvidence[] {
    return [...this.#plan.positions].flatMap((position) => this.#found.get(position) ?? [])
  }

  logitsHash(): string | undefined {
    return this.#isolated ? this.#hash.digest('hex') : undefined
  }

  /** `position` 0 follows the last token of the prompt. */
  #indexOf(position: number): number {
    return this.#plan.answer.prompt.length - 1 + position
  }

  async read(signal: AbortSignal): Promise<void> {
    const { positions, endAt, completionTokens, isolatedTokens } = this.#plan
    const wanted = [...positions, ...(endAt === undefined ? [] : [endAt])]
    const last = this.#isolated ? (endAt ?? completionTokens - 1) : Math.max(-1, ...wanted)
    if (last < 0) return
    const first = Math.min(...wanted)
    const upTo = this.#plan.tokens.slice(0, this.#indexOf(last) + 1)
    if (this.#isolated) {
      await using lease = await this.#model.isolated.open(isolatedTokens, signal)
      // Batches and rows as in `generate`: the number of rows in a batch may change their last bits.
      await this.#readAll(lease.sequence, upTo, batchesOf(0, upTo.length, this.#indexOf(1)), signal)
      await this.#lookUp(lease.sequence, upTo, signal)
    } else {
      const rowsFrom = this.#indexOf(first)
      using lease = await this.#model.generator?.sequences.take(upTo.slice(0, rowsFrom + 1), signal)
      if (!lease) throw new Error('planned a check by a model that gives no answers')
      const batches = [...batchesOf(lease.reused, rowsFrom), ...rows(rowsFrom, upTo.length)]
      await this.#readAll(lease.sequence, upTo, batches, signal)
      await this.#lookUp(lease.sequence, upTo, signal)
    }
  }

  async #readAll(
    sequence: LlamaContextSequence,
    tokens: readonly number[],
    batches: Iterable<readonly [number, number]>,
    signal: AbortSignal,
  ): Promise<void> {
    const { positions, endAt } = this.#plan
    const reading = {
      tokens,
      batches,
      depthAt: (index: number) => {
        const position = index - this.#indexOf(0)
        if (position === endAt) return 'all' as const
        if (!positions.has(position) && !(this.#isolated && position >= 0)) return undefined
        return this.#reader.depth
      },
      take: (index: number, probabilities: Probabilities) => this.#take(index - this.#indexOf(0), probabilities),
    }
    await readLogits(this.#model.watch, sequence, reading, signal)
  }

  #take(position: number, probabilities: Probabilities): void {
    const { positions, endAt, tokens } = this.#plan
    if (this.#isolated) hashProbabilities(this.#hash, probabilities, likeliestMax)
    if (!positions.has(position) && position !== endAt) return
    const seen = position === endAt || probabilities.has(tokens[this.#indexOf(position) + 1] as TokenId)
    if (!seen && this.#lookups.size < engineLimits.verifyLookupsMax) this.#lookups.add(position)
    this.#found.set(position, this.#reader.read(position, probabilities))
  }

  /** Reads the whole vocabulary where the committed token was not among the likeliest. An honest answer has none. */
  async #lookUp(sequence: LlamaContextSequence, tokens: readonly number[], signal: AbortSignal): Promise<void> {
    const lookups = [...this.#lookups]
    const [first, last] = [lookups[0], lookups.at(-1)]
    if (first === undefined || last === undefined) return
    const [from, to] = [this.#indexOf(first), this.#indexOf(last) + 1]
    await this.#model.watch.step(to, () => sequence.adaptStateToTokens(tokens.slice(0, from) as TokenId[], false))
    const reading = {
      tokens,
      batches: [...batchesOf(sequence.nextTokenIndex, from), ...rows(from, to)],
      depthAt: (index: number) => (this.#lookups.has(index - this.#indexOf(0)) ? ('all' as const) : undefined),
      take: (index: number, probabilities: Probabilities) => {
        const position = index - this.#indexOf(0)
        this.#found.set(position, this.#reader.read(position, probabilities))
      },
    }
    await readLogits(this.#model.watch, sequence, reading, signal)
  }
}

const rows = (from: number, to: number) => batchesOf(from, to, to, engineLimits.verifyRowsMax)
