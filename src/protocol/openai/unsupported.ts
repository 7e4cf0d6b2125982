import { protocolLimits } from '../limits.ts'
import type { Refusal } from '../pool-error.ts'
import type { ChatRequest } from './chat-request.ts'
import type { CompletionRequest } from './completion-request.ts'
import type { EmbeddingRequest } from './embedding-request.ts'
import { completionPrompts } from './request-parts.ts'

/** What a parameter may say without changing the answer, and what to do instead of saying more. */
interface Neutral<Request> {
  readonly param: keyof Request & string
  readonly neutral: (value: unknown, request: Request) => boolean
  readonly fix: string
}

const absent = () => false
const emptyList = (value: unknown) => Array.isArray(value) && value.length === 0
const oneOf =
  (...values: readonly unknown[]) =>
  (value: unknown) =>
    values.includes(value)

const leaveOut = 'Leave it out.'

/** Chat parameters of OpenAI that this pool cannot honour; `null` is neutral for each. */
const chatParameters: readonly Neutral<ChatRequest>[] = [
  { param: 'audio', neutral: absent, fix: 'This pool answers in text; leave it out.' },
  {
    param: 'modalities',
    neutral: (value) => Array.isArray(value) && value.every((one) => one === 'text'),
    fix: 'This pool answers in text: send ["text"] or leave it out.',
  },
  { param: 'moderation', neutral: absent, fix: leaveOut },
  { param: 'web_search_options', neutral: absent, fix: 'This pool searches nothing; leave it out.' },
  { param: 'functions', neutral: emptyList, fix: 'Use `tools`, its successor.' },
  { param: 'function_call', neutral: oneOf('none', 'auto'), fix: 'Use `tool_choice`, its successor.' },
  { param: 'store', neutral: oneOf(false), fix: 'This pool keeps no answers; send false or leave it out.' },
  { param: 'service_tier', neutral: oneOf('auto', 'default'), fix: 'Send "auto" or leave it out.' },
  { param: 'reasoning_effort', neutral: oneOf('none', 'medium'), fix: leaveOut },
  {
    param: 'add_generation_prompt',
    neutral: (value, request) => value !== (request.continue_final_message === true),
    fix: 'Send false with "continue_final_message": true, and leave it out otherwise.',
  },
  { param: 'verbosity', neutral: oneOf('medium'), fix: leaveOut },
]

const completionParameters: readonly Neutral<CompletionRequest>[] = [
  { param: 'echo', neutral: oneOf(false), fix: 'Put the prompt in front of the answer yourself.' },
  { param: 'suffix', neutral: oneOf(''), fix: leaveOut },
  {
    param: 'best_of',
    neutral: (value, request) => value === (request.n ?? 1),
    fix: 'Ask for `n` choices and pick one yourself.',
  },
  { param: 'max_tokens', neutral: (value) => value !== 0, fix: 'Ask for at least one token.' },
]

const unsupported = (param: string, what: string, fix: string): Refusal => ({
  code: 'unsupported_parameter',
  message: what,
  fix,
  param,
})
const invalid = (param: string, message: string, fix: string): Refusal => ({
  code: 'invalid_request',
  message,
  fix,
  param,
})

function firstUnsupported<Request>(request: Request, parameters: readonly Neutral<Request>[]): Refusal | undefined {
  for (const { param, neutral, fix } of parameters) {
    const value = request[param]
    if (value === undefined || value === null || neutral(value, request)) continue
    return unsupported(param, `Unsupported value for '${param}': this pool cannot honour it.`, fix)
  }
  return undefined
}

function tooManyChoices(choices: number, param: string): Refusal | undefined {
  const max = protocolLimits.choicesMax
  if (choices <= max) return undefined
  return unsupported(param, `This request asks for ${choices} choices.`, `Ask for at most ${max} at once.`)
}

function streamOptionsWithoutStream(request: ChatRequest | CompletionRequest): Refusal | undefined {
  if (!request.stream_options || request.stream) return undefined
  const message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
  return invalid('stream_options', message, 'Send "stream": true or leave it out.')
}

/** Why this chat request cannot be honoured by any model of any pool, or `undefined`. */
export function refuseChat(request: ChatRequest): Refusal | undefined {
  return (
    firstUnsupported(request, chatParameters) ??
    tooManyChoices(request.n ?? 1, 'n') ??
    streamOptionsWithoutStream(request) ??
    contradiction(request) ??
    refuseTools(request) ??
    refuseMessages(request)
  )
}

function contradiction(request: ChatRequest): Refusal | undefined {
  if (request.top_logprobs && !request.logprobs) {
    const message = "'top_logprobs' is only allowed when 'logprobs' is enabled."
    return invalid('top_logprobs', message, 'Send "logprobs": true as well.')
  }
  if (typeof request.max_tokens === 'number' && typeof request.max_completion_tokens === 'number') {
    const message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
    return invalid('max_tokens', message, 'Send `max_completion_tokens` only.')
  }
  const last = request.messages.at(-1)
  if (request.continue_final_message && (last?.role !== 'assistant' || !last.content || last.tool_calls?.length)) {
    const message = "'continue_final_message' is only allowed when the last message is text of the assistant."
    return invalid('continue_final_message', message, 'Send the beginning of the answer as the last message.')
  }
  return undefined
}

function refuseTools(request: ChatRequest): Refusal | undefined {
  const { tools, tool_choice: choice } = request
  const custom = tools?.findIndex((tool) => tool.type === 'custom') ?? -1
  if (custom >= 0) return unsupported(`tools[${custom}].type`, 'Custom tools are not supported.', 'Use function tools.')
  if (!choice || choice === 'none' || choice === 'auto') return undefined
  if (!tools?.length) {
    const message = "'tool_choice' is only allowed when 'tools' are specified."
    return invalid('tool_choice', message, 'Send `tools` as well.')
  }
  if (typeof choice === 'string') return undefined
  if (choice.type !== 'function') {
    const message = `Unsupported value for 'tool_choice': '${choice.type}'.`
    return unsupported('tool_choice', message, 'Send "none", "auto", "required" or a function.')
  }
  const { name } = choice.function
  if (tools.some((tool) => tool.type === 'function' && tool.function.name === name)) return undefined
  return invalid('tool_choice', `Tool choice '${name}' is not among the tools.`, 'Name one of the tools you sent.')
}

function refuseMessages(request: ChatRequest): Refusal | undefined {
  let answersTools = false
  for (const [index, message] of request.messages.entries()) {
    const at = `messages[${index}]`
    if (message.role === 'assistant') {
      if (message.function_call) {
        return unsupported(`${at}.function_call`, 'Function calls are not supported.', 'Use `tool_calls`.')
      }
      if (message.tool_calls?.some((call) => call.type === 'custom')) {
        return unsupported(`${at}.tool_calls`, 'Custom tool calls are not supported.', 'Use function tools.')
      }
      answersTools = (message.tool_calls?.length ?? 0) > 0
      if (message.audio) return unsupported(`${at}.audio`, 'Audio is not supported.', 'Send text.')
      const empty = message.content === undefined || message.content === null
      if (empty && !answersTools && !message.refusal) {
        const what = `Invalid value for '${at}.content': expected a string, got null.`
        return invalid(`${at}.content`, what, 'An assistant message has text, or tool calls.')
      }
      continue
    }
    if (message.role === 'tool') {
      if (answersTools) continue
      const what =
        "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
      return invalid(`${at}.role`, what, 'Send the assistant message with its tool calls first.')
    }
    answersTools = false
    if (message.role !== 'user' || typeof message.content === 'string') continue
    const part = message.content.findIndex((one) => one.type === 'input_audio' || one.type === 'file')
    if (part < 0) continue
    const param = `${at}.content[${part}]`
    return unsupported(param, `Unsupported content type: '${message.content[part]?.type}'.`, 'Send text or images.')
  }
  return undefined
}

const tokensFix = 'Send text: the ids of one vocabulary mean nothing in another.'

/** Why this text completion cannot be honoured by any model of any pool, or `undefined`. */
export function refuseCompletion(request: CompletionRequest): Refusal | undefined {
  const { prompt } = request
  if (prompt === undefined || prompt === null) {
    return invalid('prompt', "Missing required parameter: 'prompt'.", 'Send a string or a list of strings.')
  }
  if (typeof prompt !== 'string' && typeof prompt[0] !== 'string') {
    return unsupported('prompt', 'Prompts of token ids are not supported.', tokensFix)
  }
  return (
    firstUnsupported(request, completionParameters) ??
    tooManyChoices(completionPrompts(request).length * (request.n ?? 1), Array.isArray(prompt) ? 'prompt' : 'n') ??
    streamOptionsWithoutStream(request)
  )
}

/** Why these inputs cannot be honoured by any model of any pool, or `undefined`. */
export function refuseEmbedding(request: EmbeddingRequest): Refusal | undefined {
  const { input } = request
  if (typeof input === 'string' || typeof input[0] === 'string') return undefined
  return unsupported('input', 'Inputs of token ids are not supported.', tokensFix)
}
