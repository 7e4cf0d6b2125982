import type { FinishReason, Token } from '#protocol'
import { type AnswerHead, answerId, type StreamShape, type Usage, usageJson, type WholeShape } from './answer-shape.ts'
import { LegacyLogprobs } from './token-logprobs.ts'

/** What a text completion's log probabilities need to know: how many to list, and where each prompt ends. */
export interface LegacyLogprobsWish {
  readonly topMax: number
  /** Characters of the prompt that a choice continues. */
  readonly promptChars: (choice: number) => number
}

const common = (head: AnswerHead) =>
  `{"id":"${answerId('cmpl', head.jobId)}","object":"text_completion","created":${head.created},"model":${JSON.stringify(
    head.model,
  )},"system_fingerprint":${JSON.stringify(head.fingerprint)},"choices":[`

/** `text_completion` events. */
export class CompletionStreamShape implements StreamShape {
  readonly #front: string
  readonly #back: string
  readonly #includeUsage: boolean
  readonly #wish: LegacyLogprobsWish | undefined
  readonly #logprobs: LegacyLogprobs[] = []

  constructor(head: AnswerHead, includeUsage: boolean, wish: LegacyLogprobsWish | undefined) {
    this.#front = `data: ${common(head)}`
    this.#includeUsage = includeUsage
    this.#back = includeUsage ? '],"usage":null}\n\n' : ']}\n\n'
    this.#wish = wish
  }

  opening(): string {
    return ''
  }

  text(choice: number, text: string, tokens: readonly Token[]): string {
    return this.#chunk(choice, JSON.stringify(text), this.#logprobsJson(choice, tokens), 'null')
  }

  /** A text completion has nothing but text. */
  delta(): string {
    return ''
  }

  finish(choice: number, finish: FinishReason): string {
    return this.#chunk(choice, '""', 'null', `"${finish}"`)
  }

  usage(usage: Usage): string {
    return this.#includeUsage ? `${this.#front}],"usage":${usageJson(usage)}}\n\n` : ''
  }

  #logprobsJson(choice: number, tokens: readonly Token[]): string {
    if (!this.#wish) return 'null'
    this.#logprobs[choice] ??= new LegacyLogprobs(this.#wish.topMax, this.#wish.promptChars(choice))
    const logprobs = this.#logprobs[choice]
    logprobs.add(tokens)
    return logprobs.takeJson()
  }

  #chunk(choice: number, text: string, logprobs: string, finish: string): string {
    return `${this.#front}{"text":${text},"index":${choice},"logprobs":${logprobs},"finish_reason":${finish}}${this.#back}`
  }
}

interface CompletionChoice {
  text: string
  logprobs: LegacyLogprobs | undefined
  finish: FinishReason | null
}

/** One `text_completion` body. */
export class CompletionWholeShape implements WholeShape {
  readonly #head: AnswerHead
  readonly #choices: CompletionChoice[] = []

  constructor(head: AnswerHead, choices: number, wish: LegacyLogprobsWish | undefined) {
    this.#head = head
    for (let index = 0; index < choices; index++) {
      const logprobs = wish && new LegacyLogprobs(wish.topMax, wish.promptChars(index))
      this.#choices.push({ text: '', logprobs, finish: null })
    }
  }

  text(choice: number, text: string, tokens: readonly Token[]): void {
    const into = this.#choice(choice)
    into.text += text
    into.logprobs?.add(tokens)
  }

  /** A text completion has nothing but text. */
  delta(): void {}

  finish(choice: number, finish: FinishReason): void {
    this.#choice(choice).finish = finish
  }

  body(usage: Usage): string {
    const choices = this.#choices.map(({ text, logprobs, finish }, index) => {
      const logprobsJson = logprobs ? logprobs.takeJson() : 'null'
      return `{"text":${JSON.stringify(text)},"index":${index},"logprobs":${logprobsJson},"finish_reason":${JSON.stringify(finish)}}`
    })
    return `${common(this.#head)}${choices.join(',')}],"usage":${usageJson(usage)}}`
  }

  #choice(index: number): CompletionChoice {
    const choice = this.#choices[index]
    if (!choice) throw new Error(`choice ${index} of an answer that has ${this.#choices.length}`)
    return choice
  }
}
