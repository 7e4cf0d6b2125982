import type { LlamaContextSequence, Token as TokenId } from 'node-llama-cpp'
import { engineLimits } from '../limits.ts'
import type { EvaluationWatch } from './evaluation-watch.ts'

/**
 * How tokens `from` … `to` − 1 are computed: in batches of a fixed size, those from `singlesFrom` on one at a time.
 * Pairs of beginning and end.
 */
export function* batchesOf(
  from: number,
  to: number,
  singlesFrom = to,
  tokensMax: number = engineLimits.prefillTokensMax,
): Generator<readonly [number, number]> {
  for (let at = from; at < to; ) {
    const end = at < singlesFrom ? Math.min(at + tokensMax, singlesFrom, to) : at + 1
    yield [at, end]
    at = end
  }
}

/** Computes the tokens in batches, up to the last batch, which is returned: its last token's logits are needed. */
export async function prefill(
  watch: EvaluationWatch,
  sequence: LlamaContextSequence,
  tokens: readonly number[],
  singlesFrom: number,
  signal: AbortSignal,
): Promise<number[]> {
  let last: readonly [number, number] | undefined
  for (const batch of batchesOf(sequence.nextTokenIndex, tokens.length, singlesFrom)) {
    signal.throwIfAborted()
    if (last) await compute(watch, sequence, tokens.slice(...last))
    last = batch
  }
  signal.throwIfAborted()
  return tokens.slice(...(last ?? [tokens.length]))
}

function compute(watch: EvaluationWatch, sequence: LlamaContextSequence, batch: readonly number[]): Promise<void> {
  return watch.step(batch.length, () => sequence.evaluateWithoutGeneratingNewTokens(batch as TokenId[]))
}
