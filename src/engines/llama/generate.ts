import { type FinishReason, TextAssembler, type Token } from '#protocol'
import type { EngineEnd } from '../engine.ts'
import { prefill } from './batches.ts'
import { watched } from './evaluation-watch.ts'
import { type GenerationPlan, type GenerationTask, planGeneration } from './generation-plan.ts'
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
  onPrompt: (tokens: number) => void = () => {},
): Promise<EngineEnd> {
  const plan = planGeneration(model, task)
  const answer = new Answer(model, plan)
  if (answer.finish === undefined) {
    const grammar =
      plan.schema === undefined ? undefined : await generatorOf(model).grammars.after(plan.schema, plan.resume)
    const tokens = [...plan.prompt, ...plan.resume]
    const singlesFrom = task.isolated ? plan.prompt.length : tokens.length
    await using lease = task.isolated
      ? await model.isolated.open(plan.prompt.length + plan.tokensMax, signal)
      : await generatorOf(model).sequences.take(tokens, signal)
    const rest = await prefill(model.watch, lease.sequence, tokens, singlesFrom, signal)
    onPrompt(plan.prompt.length)
    const steps = nextTokens(model, lease.sequence, rest, plan, grammar)
    for await (const next of watched(model.watch, rest.length, steps)) {
      signal.throwIfAborted()
      const token = answer.add(next)
      if (token) await put(token)
      if (answer.finish !== undefined) break
    }
  }
  const usage = { promptTokens: plan.prompt.length, completionTokens: answer.length - plan.resume.length }
  return { finish: answer.finish ?? 'length', usage }
}

function generatorOf(model: LoadedModel) {
  if (!model.generator) throw new Error('planned an answer of a model that gives none')
  return model.generator
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
