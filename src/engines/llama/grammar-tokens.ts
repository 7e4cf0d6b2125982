import { type LlamaContextSequence, LlamaGrammarEvaluationState, type Token as TokenId } from 'node-llama-cpp'
import { PoolError } from '#protocol'
import { samplerCandidatesMax } from '../sampler.ts'
import { utf8After } from '../utf8-state.ts'
import type { GenerationPlan } from './generation-plan.ts'
import type { LoadedModel } from './loaded-model.ts'
import type { NextToken } from './next-tokens.ts'

/** What llama.cpp's binding has and the library's types hide (node-llama-cpp 3.21.1, exactly pinned). */
interface GrammarBinding {
  readonly _bindings: { AddonSampler: { acceptGrammarEvaluationStateToken(state: unknown, id: number): void } }
}

/** Where a grammar stands after the tokens an answer already has. Throws `PoolError` `invalid_schema`. */
export async function grammarAfter(
  model: LoadedModel,
  grammar: string,
  answer: readonly number[],
): Promise<LlamaGrammarEvaluationState> {
  const parsed = await model.llama.createGrammar({ grammar }).catch(() => {
    const fix = 'Simplify it: fewer members, fewer alternatives, smaller limits.'
    throw new PoolError('invalid_schema', 'The JSON schema makes no grammar that llama.cpp can follow.', fix, {
      param: 'response_format',
    })
  })
  const state = new LlamaGrammarEvaluationState({ model: model.model, grammar: parsed })
  // The library advances a grammar only while it samples; an answer begun elsewhere has to be replayed into it.
  const binding = model.llama as unknown as GrammarBinding
  const { _state } = state as unknown as { _state: unknown }
  for (const id of answer) binding._bindings.AddonSampler.acceptGrammarEvaluationStateToken(_state, id)
  return state
}

/**
 * Tokens that follow a grammar, chosen by llama.cpp's own sampler: it knows the grammar, and the library advances it
 * by what the sampler chose, not by what we would choose instead.
 */
export async function* grammarTokens(
  model: LoadedModel,
  sequence: LlamaContextSequence,
  tokens: readonly number[],
  plan: GenerationPlan,
  grammar: LlamaGrammarEvaluationState,
): AsyncGenerator<NextToken, void, void> {
  const { temperature, topP, presencePenalty, frequencyPenalty, bias } = plan.settings
  const answer = [...plan.resume] as TokenId[]
  let utf8 = utf8After(0, Buffer.concat(answer.map((id) => model.vocabulary.piece(id))))
  const steps = sequence.evaluate(tokens as TokenId[], {
    temperature,
    topK: samplerCandidatesMax,
    topP,
    seed: plan.key.readUInt32LE(0),
    grammarEvaluationState: grammar,
    tokenBias: () => model.utf8Guard.biasAfter(utf8, bias),
    repeatPenalty: { penalty: 1, presencePenalty, frequencyPenalty, punishTokens: () => answer },
    yieldEogToken: true,
  })
  for await (const id of steps) {
    answer.push(id)
    utf8 = utf8After(utf8, model.vocabulary.piece(id))
    yield { id }
  }
}
