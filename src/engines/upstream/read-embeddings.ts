import { z } from 'zod'
import { type EmbeddingRequest, embeddingInputs } from '#protocol'
import type { EngineEnd } from '../engine.ts'
import { engineLimits } from '../limits.ts'
import { refuseStatus } from './refuse-status.ts'
import { readJson, readText, type UpstreamClient, UpstreamFault } from './upstream-client.ts'

const answerSchema = z.object({
  data: z.array(z.object({ index: z.int().min(0), embedding: z.array(z.number()).min(1) })),
  usage: z.object({ prompt_tokens: z.int().min(0).nullish() }).nullish(),
})

/** Asks an upstream for vectors, in batches whose answers stay within limits. */
export async function readEmbeddings(
  client: UpstreamClient,
  request: EmbeddingRequest,
  upstreamModel: string,
  put: (index: number, values: Float32Array) => void,
  signal: AbortSignal,
): Promise<EngineEnd> {
  const inputs = embeddingInputs(request)
  const dimensions = typeof request.dimensions === 'number' ? { dimensions: request.dimensions } : {}
  let promptTokens = 0
  for (let at = 0; at < inputs.length; at += engineLimits.upstreamEmbeddingBatchMax) {
    const input = inputs.slice(at, at + engineLimits.upstreamEmbeddingBatchMax)
    const body = { model: upstreamModel, input, encoding_format: 'float', ...dimensions }
    const { vectors, tokens } = await askBatch(client, body, input.length, signal)
    for (const [index, values] of vectors.entries()) put(at + index, values)
    promptTokens += tokens
  }
  return { finish: 'stop', usage: { promptTokens, completionTokens: 0 } }
}

async function askBatch(client: UpstreamClient, body: object, count: number, signal: AbortSignal) {
  const response = await client.post('/embeddings', body, signal)
  if (response.statusCode !== 200) {
    const text = await readText(response.body, engineLimits.upstreamListBytesMax, signal)
    throw refuseStatus(response.statusCode, client.hideKey(text))
  }
  const answer = answerSchema.safeParse(await readJson(response.body, engineLimits.upstreamAnswerBytesMax, signal))
  if (!answer.success) throw new UpstreamFault('the upstream sent something that is no list of embeddings')
  const { data, usage } = answer.data
  const sorted = data.toSorted((a, b) => a.index - b.index)
  if (sorted.length !== count || sorted.some(({ index }, place) => index !== place)) {
    throw new UpstreamFault('the upstream sent another number of embeddings than was asked for')
  }
  return { vectors: sorted.map(({ embedding }) => Float32Array.from(embedding)), tokens: usage?.prompt_tokens ?? 0 }
}
