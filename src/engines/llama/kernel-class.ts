import { createHash } from 'node:crypto'
import { PoolError } from '#protocol'
import { engineLimits } from '../limits.ts'
import { batchesOf } from './batches.ts'
import type { LoadedModel } from './loaded-model.ts'
import { hashProbabilities, readLogits } from './read-logits.ts'

/**
 * See `Engine.kernelClass`. The text's last tokens are computed one at a time, as those of an isolated answer, and what
 * the model expects after each is hashed over the whole vocabulary. All before them is one prompt.
 */
export async function kernelClassOf(model: LoadedModel, text: string, signal: AbortSignal): Promise<string> {
  if (!model.generator) throw model.cannot('model', 'only computes embeddings', 'Calibrate with another model.')
  const tokens = model.textPrompt(text)
  const { calibrationTokensMax, calibrationSteps } = engineLimits
  const lengthMax = Math.min(calibrationTokensMax, model.offer.contextTokens - 1)
  if (tokens.length <= calibrationSteps || tokens.length > lengthMax) {
    const message = `A calibration text has ${calibrationSteps + 1} to ${lengthMax} tokens, this one ${tokens.length}.`
    throw new PoolError('invalid_request', message, 'Send a text of another length.')
  }
  const hash = createHash('sha256').update('lichen/kernel-class/1')
  const singlesFrom = tokens.length - calibrationSteps
  await using lease = await model.isolated.open(tokens.length + 1, signal)
  const reading = {
    tokens,
    batches: batchesOf(0, tokens.length, singlesFrom),
    depthAt: (index: number) => (index < singlesFrom ? undefined : ('all' as const)),
    take: (_: number, probabilities: Parameters<typeof hashProbabilities>[1]) => hashProbabilities(hash, probabilities),
  }
  await readLogits(model.watch, lease.sequence, reading, signal)
  return hash.digest('hex')
}
