import { type ChatRequest, type CompletionRequest, completionPromptOf, PoolError, stopsOf } from '#protocol'
import { canResume } from '../resumable.ts'
import { choiceKey, type SamplerSettings } from '../sampler.ts'
import type { ProcessTask } from './engine-messages.ts'
import type { LoadedModel } from './loaded-model.ts'

export type GenerationTask = Exclude<ProcessTask, { kind: 'embedding' }>

/** Everything that decides which tokens an answer has. */
export interface GenerationPlan {
  readonly prompt: readonly number[]
  /** Token ids the answer already has. */
  readonly resume: readonly number[]
  /** Most tokens of the answer, those of `resume` included; the context may have room for fewer than were allowed. */
  readonly tokensMax: number
  readonly stops: readonly string[]
  readonly settings: SamplerSettings
  readonly key: Buffer
  /** Alternatives to list per token; `undefined` when no probabilities are asked for. */
  readonly topLogprobs: number | undefined
  /** JSON schema the answer must follow; not yet known to be one that a grammar can keep. */
  readonly schema: unknown
}

/** Works out a task, or throws the refusal of what this model cannot do. */
export function planGeneration(model: LoadedModel, task: GenerationTask): GenerationPlan {
  if (!model.generator) throw model.cannot('model', 'only computes embeddings', 'Use POST /v1/embeddings.')
  if (!canResume(task.kind, task.request) && task.resume.length > 0) {
    const fix = 'Send the request again; at temperature 0 it could have gone on.'
    throw new PoolError('worker_lost', 'An answer bound to a JSON schema cannot be continued elsewhere.', fix)
  }
  const prompt = promptOf(model, task)
  const room = model.offer.contextTokens - prompt.length
  if (room < 1) throw contextExceeded(model.offer.contextTokens, prompt.length)
  checkIds(task.resume, model.vocabulary.size)
  return {
    prompt,
    resume: task.resume,
    tokensMax: Math.min(task.maxTokens, room),
    stops: stopsOf(task.request),
    settings: settingsOf(task.request),
    key: choiceKey(Buffer.from(task.seed), task.choice),
    topLogprobs: topLogprobsOf(task),
    schema: schemaOf(task),
  }
}

function promptOf(model: LoadedModel, task: GenerationTask): number[] {
  if (task.kind === 'chat') return model.chatPrompt(task.request)
  return model.textPrompt(completionPromptOf(task.request, task.choice))
}

/** OpenAI's sentence, with this model's numbers. */
export function contextExceeded(max: number, given: number, param = 'messages'): PoolError {
  const message = `This model's maximum context length is ${max} tokens, but the request has ${given}.`
  return new PoolError('context_length_exceeded', message, 'Shorten it.', { param })
}

function checkIds(ids: readonly number[], vocabularySize: number): void {
  if (ids.every((id) => id < vocabularySize)) return
  throw new PoolError('protocol_violation', 'An id to resume from is not in the vocabulary.', 'Send ids of this model.')
}

function settingsOf(request: ChatRequest | CompletionRequest): SamplerSettings {
  const bias = Object.entries(request.logit_bias ?? {}).map(([id, value]): [number, number] => [Number(id), value])
  return {
    temperature: request.temperature ?? 1,
    topP: request.top_p ?? 1,
    presencePenalty: request.presence_penalty ?? 0,
    frequencyPenalty: request.frequency_penalty ?? 0,
    bias: new Map(bias.filter(([, value]) => value !== 0)),
  }
}

function topLogprobsOf(task: GenerationTask): number | undefined {
  if (task.kind === 'completion') return task.request.logprobs ?? undefined
  return task.request.logprobs ? (task.request.top_logprobs ?? 0) : undefined
}

function schemaOf(task: GenerationTask): unknown {
  if (task.kind !== 'chat') return undefined
  const { response_format: format, logprobs } = task.request
  if (!format || format.type === 'text') return undefined
  if (logprobs) {
    const message = 'Log probabilities are not available for an answer bound to a JSON schema.'
    throw new PoolError('unsupported_parameter', message, 'Leave one of the two out.', { param: 'logprobs' })
  }
  return format.type === 'json_object' ? { type: 'object' } : (format.json_schema.schema ?? true)
}
