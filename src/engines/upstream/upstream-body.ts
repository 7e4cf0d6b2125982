import { completionPromptOf } from '#protocol'
import type { EngineTask } from '../engine.ts'
import { choiceKey } from '../sampler.ts'

/** Fields that say who asks or what to store, not what to answer: the upstream need not know. */
const withheld = [
  'user',
  'metadata',
  'store',
  'service_tier',
  'safety_identifier',
  'prompt_cache_key',
  'prompt_cache_options',
  'prompt_cache_retention',
  'assurance',
]

export type GenerationTask = Exclude<EngineTask, { kind: 'embedding' }>

/** The body for the upstream: the client's own, for one streamed choice of the upstream's model. */
export function upstreamBody(task: GenerationTask, upstreamModel: string): Record<string, unknown> {
  // Parsed strictly before it was dispatched; here only to be passed on with everything the client wrote.
  const body = JSON.parse(task.body.toString('utf8')) as Record<string, unknown>
  for (const field of withheld) delete body[field]
  const limit = body.max_completion_tokens === undefined ? 'max_tokens' : 'max_completion_tokens'
  const prompt = task.kind === 'completion' ? { prompt: completionPromptOf(task.request, task.choice) } : {}
  const own = { model: upstreamModel, n: 1, stream: true, stream_options: { include_usage: true } }
  return { ...body, ...prompt, ...own, ...seedOf(task), [limit]: task.maxTokens }
}

/** The client's seed for its first choice; other choices need others, or they would all be equal. */
function seedOf(task: GenerationTask): { seed?: number } {
  const { seed } = task.request
  if (seed === undefined || seed === null) return {}
  return { seed: task.choice === 0 ? seed : choiceKey(task.seed, task.choice).readUInt32LE(0) >>> 1 }
}
