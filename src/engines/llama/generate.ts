import type { LlamaContextSequence, Token as TokenId } from 'node-llama-cpp'
import { type FinishReason, TextAssembler, type Token } from '#protocol'
import type { EngineEnd } from '../engine.ts'
import { engineLimits } from '../limits.ts'
import { type GenerationPlan, type GenerationTask, planGeneration } from './generation-plan.ts'
import { grammarAfter } from './grammar-tokens.ts'
import type { LoadedModel } from './loaded-model.ts'
import { nextTokens } from './next-tokens.ts'

/** Where tokens go. A returned promise is waited for: the reader is far behind. */
export type PutToken = (token: Token) => Promise<void> | undefined

/** Computes one answer, or the rest of one. Rejects with the signal's reason at the next token or batch edge. */
export async function generate(
  model: LoadedModel,
  task: GenerationTask,
  put: PutToken,
  signal: AbortSignal,
): Promise<EngineEnd> {
  const plan = planGeneration(model, task)
  const answer = new Answer(model, plan)
  if (answer.finish === undefined) {
    const grammar = plan.grammar === undefined ? undefined : await grammarAfter(model, plan.grammar, plan.resume)
    const tokens = [...plan.prompt, ...plan.resume]
    using lease = await sequencesOf(model).take(tokens, signal)
    const rest = await prefill(lease.sequence, tokens, signal)
    for await (const next of nextTokens(model, lease.sequence, rest, plan, grammar)) {
      signal.throwIfAborted()
      const token = answer.add(next)
      if (token) await put(token)
      if (answer.finish !== undefined) break
    }
  }
  const usage = { promptTokens: plan.prompt.length, completionTokens: answer.length - plan.resume.length }
  return { finish: answer.finish ?? 'length', usage }
}

function sequencesOf(model: LoadedModel) {
  if (!model.generator) throw new Error('planned an answer of a model that gives none')
  return model.generator.sequences
}

/** Computes the prompt in batches, up to the last one, which is returned: its last token's logits are needed. */
async function prefill(
  sequence: LlamaContextSequence,
  tokens: readonly number[],
  signal: AbortSignal,
): Promise<number[]> {
  let at = sequence.nextTokenIndex
  for (; tokens.length - at > engineLimits.prefillTokensMax; at += engineLimits.prefillTokensMax) {
    signal.throwIfAborted()
    const batch = tokens.slice(at, at + engineLimits.prefillTokensMax)
    await sequence.evaluateWithoutGeneratingNewTokens(batch as TokenId[])
  }
  signal.throwIfAborted()
  return tokens.slice(at)
}

/** An answer while it grows; knows when it is finished. */
class Answer {
  readonly #model: LoadedModel
  readonly #plan: GenerationPlan
  readonly #text: TextAssembler
  length: number
  finish: FinishReason | undefined

  constructor(model: LoadedModel, plan: GenerationPlan) {
    this.#model = model
    this.#plan = plan
    this.#text = new TextAssembler(plan.stops)
    for (const id of plan.resume) this.#text.push(model.vocabulary.piece(id))
    this.length = plan.resume.length
    this.#look()
  }

  /** The token to send, or nothing when it is one that ends the answer. */
  add({ id, ...more }: { id: number } & Omit<Token, 'id' | 'piece'>): Token | undefined {
    if (this.#model.vocabulary.ends(id)) {
      this.finish = 'stop'
      return undefined
    }
    const piece = this.#model.vocabulary.piece(id)
    this.#text.push(piece)
    this.length++
    this.#look()
    return { id, piece, ...more }
  }

  #look(): void {
    if (this.#text.stopped) this.finish = 'stop'
    else if (this.length >= this.#plan.tokensMax) this.finish = 'length'
  }
}
