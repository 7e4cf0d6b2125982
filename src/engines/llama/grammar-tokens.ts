import type { LlamaContextSequence, LlamaGrammarEvaluationState, Token as TokenId } from 'node-llama-cpp'
import { samplerCandidatesMax } from '../sampler.ts'
import { utf8After } from '../utf8-state.ts'
import type { GenerationPlan } from './generation-plan.ts'
import type { LoadedModel } from './loaded-model.ts'
import type { NextToken } from './next-tokens.ts'

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
