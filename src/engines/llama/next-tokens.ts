import type { LlamaContextSequence, LlamaGrammarEvaluationState, Token as TokenId } from 'node-llama-cpp'
import type { TopToken } from '#protocol'
import { type Candidate, candidatesOf, chooseToken, samplerCandidatesMax } from '../sampler.ts'
import type { GenerationPlan } from './generation-plan.ts'
import { grammarTokens } from './grammar-tokens.ts'
import type { LoadedModel } from './loaded-model.ts'

/** A token that was chosen, tokens that end the answer included. */
export interface NextToken {
  readonly id: number
  readonly logprob?: number
  readonly top?: readonly TopToken[]
}

/** OpenAI's number for "practically impossible": JSON has no infinity. */
const logprobMin = -9_999

const logOf = (probability: number) => Math.max(logprobMin, Math.log(probability))

/**
 * The tokens after `tokens`, for as long as the caller asks. `tokens` are what the sequence has not computed yet; each
 * answer token is computed when the next is asked for.
 */
export function nextTokens(
  model: LoadedModel,
  sequence: LlamaContextSequence,
  tokens: readonly number[],
  plan: GenerationPlan,
  grammar: LlamaGrammarEvaluationState | undefined,
): AsyncGenerator<NextToken, void, void> {
  const start = tokens as TokenId[]
  if (grammar) return grammarTokens(model, sequence, start, plan, grammar)
  return isGreedy(plan) ? greedyTokens(sequence, start) : sampledTokens(model, sequence, start, plan)
}

/** Whether the choice is simply the largest raw logit, which llama.cpp finds fastest. Of equal ones it takes the lower id. */
function isGreedy({ settings, topLogprobs }: GenerationPlan): boolean {
  const penalised = settings.presencePenalty !== 0 || settings.frequencyPenalty !== 0 || settings.bias.size > 0
  return settings.temperature === 0 && !penalised && topLogprobs === undefined
}

async function* greedyTokens(sequence: LlamaContextSequence, tokens: TokenId[]): AsyncGenerator<NextToken, void, void> {
  for await (const id of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) yield { id }
}

/**
 * Sampler `sampler/1`. llama.cpp is asked for probabilities at temperature 1 without any cut but the 64 largest, so
 * that their logarithms differ from the raw logits by one constant; its own choice is replaced by ours.
 */
async function* sampledTokens(
  model: LoadedModel,
  sequence: LlamaContextSequence,
  tokens: TokenId[],
  plan: GenerationPlan,
): AsyncGenerator<NextToken, void, void> {
  const { settings, key, topLogprobs } = plan
  const wholeVocabulary = topLogprobs !== undefined || [...settings.bias.values()].some((value) => value > 0)
  const raw = { temperature: 1, topK: wholeVocabulary ? 0 : samplerCandidatesMax, topP: 1, minP: 0, seed: 0 }
  const steps = sequence.evaluateWithMetadata(tokens, { probabilities: true }, { ...raw, yieldEogToken: true })
  const counts = new Map<number, number>()
  for (const id of plan.resume) counts.set(id, (counts.get(id) ?? 0) + 1)
  let position = plan.resume.length
  try {
    let step = await steps.next()
    while (!step.done) {
      const { probabilities } = step.value
      const candidates = candidatesOf(likeliest(probabilities, settings.bias), settings.bias)
      const id = chooseToken(candidates, settings, counts, key, position++) as TokenId
      counts.set(id, (counts.get(id) ?? 0) + 1)
      yield topLogprobs === undefined ? { id } : withLogprobs(model, id, probabilities, topLogprobs)
      step = await steps.next(id)
    }
  } finally {
    await steps.return()
  }
}

/** Of a map sorted by probability, the 64 first, any equal to the last of these, and those with a positive bias. */
function* likeliest(
  probabilities: ReadonlyMap<TokenId, number>,
  bias: ReadonlyMap<number, number>,
): Generator<Candidate> {
  let rank = 0
  let last = 0
  for (const [id, probability] of probabilities) {
    const among = rank++ < samplerCandidatesMax
    if (among) last = probability
    if (among || probability === last || (bias.get(id) ?? 0) > 0) yield { id, logit: Math.log(probability) }
    else if (bias.size === 0) return
  }
}

function withLogprobs(
  model: LoadedModel,
  id: TokenId,
  probabilities: ReadonlyMap<TokenId, number>,
  topLogprobs: number,
): NextToken {
  const top: TopToken[] = []
  for (const [other, probability] of probabilities) {
    if (top.length === topLogprobs) break
    top.push({ piece: model.vocabulary.piece(other), logprob: logOf(probability) })
  }
  return { id, logprob: logOf(probabilities.get(id) ?? 0), top }
}
