import { type EmbeddingRequest, embeddingInputs, PoolError } from '#protocol'
import type { EngineEnd } from '../engine.ts'
import { contextExceeded } from './generation-plan.ts'
import type { LoadedModel } from './loaded-model.ts'

/** Computes one unit vector per input, in order. */
export async function embed(
  model: LoadedModel,
  request: EmbeddingRequest,
  put: (index: number, values: Float32Array) => void,
  signal: AbortSignal,
): Promise<EngineEnd> {
  const { dimensions } = request
  const size = model.model.embeddingVectorSize
  if (typeof dimensions === 'number' && dimensions !== size) {
    const message = `The vectors of this model have ${size} dimensions.`
    throw new PoolError('unsupported_parameter', message, 'Leave it out.', { param: 'dimensions' })
  }
  const context = await model.embedding()
  const max = model.embeddingTokensMax
  let promptTokens = 0
  for (const [index, text] of embeddingInputs(request).entries()) {
    signal.throwIfAborted()
    const ids = model.model.tokenize(text)
    const length = context.calculateInputLength(ids)
    if (length > max) throw contextExceeded(max, length, 'input')
    const { vector } = await model.watch.step(length, () => context.getEmbeddingFor(ids))
    put(index, unitVector(vector))
    promptTokens += length
  }
  return { finish: 'stop', usage: { promptTokens, completionTokens: 0 } }
}

function unitVector(values: readonly number[]): Float32Array {
  const length = Math.hypot(...values)
  return Float32Array.from(values, (value) => (length === 0 ? 0 : value / length))
}
