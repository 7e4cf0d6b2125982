import type { FinishReason, Token } from '#protocol'
import { type AnswerHead, answerId, type StreamShape, type Usage, usageJson, type WholeShape } from './answer-shape.ts'
import { mergeDelta } from './merge-delta.ts'
import { chatLogprobItems } from './token-logprobs.ts'

/** Members between the id and the choices, the same in every chunk of an answer. */
const common = (object: string, head: AnswerHead) =>
  `{"id":"${answerId('chatcmpl', head.jobId)}","object":"${object}","created":${head.created},"model":${JSON.stringify(
    head.model,
  )},"service_tier":"default","system_fingerprint":${JSON.stringify(head.fingerprint)},"choices":[`

/** `chat.completion.chunk` events. Everything but the text is built once per answer. */
export class ChatStreamShape implements StreamShape {
  readonly #front: string
  readonly #usageNull: string
  readonly #includeUsage: boolean
  readonly #topMax: number | undefined

  /** `topMax`: `top_logprobs` when the request asked for log probabilities. */
  constructor(head: AnswerHead, includeUsage: boolean, topMax: number | undefined) {
    this.#front = `data: ${common('chat.completion.chunk', head)}`
    this.#includeUsage = includeUsage
    this.#usageNull = includeUsage ? '],"usage":null}\n\n' : ']}\n\n'
    this.#topMax = topMax
  }

  opening(choice: number): string {
    return this.#chunk(choice, '{"role":"assistant","content":"","refusal":null}', 'null', 'null')
  }

  text(choice: number, text: string, tokens: readonly Token[]): string {
    const logprobs =
      this.#topMax === undefined ? 'null' : `{"content":[${chatLogprobItems(tokens, this.#topMax)}],"refusal":null}`
    return this.#chunk(choice, `{"content":${JSON.stringify(text)}}`, logprobs, 'null')
  }

  delta(choice: number, delta: Record<string, unknown>): string {
    return this.#chunk(choice, JSON.stringify(delta), 'null', 'null')
  }

  finish(choice: number, finish: FinishReason): string {
    return this.#chunk(choice, '{}', 'null', `"${finish}"`)
  }

  usage(usage: Usage): string {
    return this.#includeUsage ? `${this.#front}],"usage":${usageJson(usage)}}\n\n` : ''
  }

  #chunk(choice: number, delta: string, logprobs: string, finish: string): string {
    return `${this.#front}{"index":${choice},"delta":${delta},"logprobs":${logprobs},"finish_reason":${finish}}${this.#usageNull}`
  }
}

interface ChatChoice {
  text: string
  logprobs: string
  delta: Record<string, unknown> | undefined
  finish: FinishReason | null
}

/** One `chat.completion` body. */
export class ChatWholeShape implements WholeShape {
  readonly #head: AnswerHead
  readonly #topMax: number | undefined
  readonly #choices: ChatChoice[] = []

  constructor(head: AnswerHead, choices: number, topMax: number | undefined) {
    this.#head = head
    this.#topMax = topMax
    for (let index = 0; index < choices; index++) {
      this.#choices.push({ text: '', logprobs: '', delta: undefined, finish: null })
    }
  }

  text(choice: number, text: string, tokens: readonly Token[]): void {
    const into = this.#choice(choice)
    into.text += text
    if (this.#topMax === undefined) return
    const items = chatLogprobItems(tokens, this.#topMax)
    if (items) into.logprobs += into.logprobs ? `,${items}` : items
  }

  delta(choice: number, delta: Record<string, unknown>): void {
    const into = this.#choice(choice)
    into.delta = mergeDelta(into.delta ?? {}, delta)
  }

  finish(choice: number, finish: FinishReason): void {
    this.#choice(choice).finish = finish
  }

  body(usage: Usage): string {
    let choices = ''
    for (const [index, choice] of this.#choices.entries())
      choices += (index ? ',' : '') + this.#choiceJson(index, choice)
    return `${common('chat.completion', this.#head)}${choices}],"usage":${usageJson(usage)}}`
  }

  #choiceJson(index: number, choice: ChatChoice): string {
    const logprobs = this.#topMax === undefined ? 'null' : `{"content":[${choice.logprobs}],"refusal":null}`
    return `{"index":${index},"message":${messageJson(choice)},"logprobs":${logprobs},"finish_reason":${JSON.stringify(choice.finish)}}`
  }

  #choice(index: number): ChatChoice {
    const choice = this.#choices[index]
    if (!choice) throw new Error(`choice ${index} of an answer that has ${this.#choices.length}`)
    return choice
  }
}

function messageJson({ text, delta }: ChatChoice): string {
  if (!delta) return `{"role":"assistant","content":${JSON.stringify(text)},"refusal":null,"annotations":[]}`
  const content = text === '' && delta.tool_calls ? null : text
  return JSON.stringify({ role: 'assistant', content, refusal: null, annotations: [], ...delta })
}
