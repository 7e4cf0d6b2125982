import type { Hash } from 'node:crypto'
import type { LlamaContextSequence, Token as TokenId } from 'node-llama-cpp'
import { samplerCandidatesMax } from '../sampler.ts'
import type { EvaluationWatch } from './evaluation-watch.ts'

/** Token → probability, likeliest first. Among the likeliest only, they are shares of these. */
export type Probabilities = ReadonlyMap<TokenId, number>

/** One more than the sampler considers, so that the edge of its candidates is seen; or the whole vocabulary. */
export type Depth = 'likeliest' | 'all'
export const likeliestMax = samplerCandidatesMax + 1

/** Which logits to read: those that follow token `index`. */
export interface Reading {
  readonly tokens: readonly number[]
  /** Beginnings and ends of the batches; what stands before the first is computed already. */
  readonly batches: Iterable<readonly [number, number]>
  depthAt(index: number): Depth | undefined
  take(index: number, probabilities: Probabilities): void
}

/** Computes given tokens and reads what the model expected after them. Rejects with the signal's reason at a batch's edge. */
export async function readLogits(
  watch: EvaluationWatch,
  sequence: LlamaContextSequence,
  { tokens, batches, depthAt, take }: Reading,
  signal: AbortSignal,
): Promise<void> {
  for (const [begin, end] of batches) {
    signal.throwIfAborted()
    const inputs = tokens.slice(begin, end).map((id, n) => {
      const depth = depthAt(begin + n)
      return depth ? askFor(id as TokenId, depth) : (id as TokenId)
    })
    const results = await watch.step(end - begin, () => sequence.controlledEvaluate(inputs))
    results.forEach((result, n) => {
      const probabilities = result?.next.probabilities
      if (probabilities) take(begin + n, probabilities)
    })
  }
  signal.throwIfAborted()
}

/** The library gives no raw logits; at temperature 1 and without a cut, the logarithms differ from them by a constant. */
function askFor(id: TokenId, depth: Depth) {
  const options = { temperature: 1, topK: depth === 'all' ? 0 : likeliestMax, topP: 1, minP: 0, seed: 0 }
  return [id, { generateNext: { probabilities: true, options } }] satisfies [TokenId, object]
}

/** Adds ids and probabilities, bit by bit, in order of id: u32 and f32, little-endian. */
export function hashProbabilities(hash: Hash, probabilities: Probabilities, tokensMax = probabilities.size): void {
  const entries = [...probabilities].slice(0, tokensMax).sort(([a], [b]) => a - b)
  const bytes = Buffer.alloc(8 * entries.length)
  entries.forEach(([id, probability], n) => {
    bytes.writeUInt32LE(id, 8 * n)
    bytes.writeFloatLE(probability, 8 * n + 4)
  })
  hash.update(bytes)
}
