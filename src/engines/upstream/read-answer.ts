import { StringDecoder } from 'node:string_decoder'
import { createParser } from 'eventsource-parser'
import type { Dispatcher } from 'undici'
import type { FinishReason, UsageClaim } from '#protocol'
import type { EngineEnd, EngineSink } from '../engine.ts'
import { engineLimits } from '../limits.ts'
import { answerChunkSchema, extrasOf, finishOf, tokensOf } from './answer-chunk.ts'
import { chunksOf, UpstreamFault } from './upstream-client.ts'

/**
 * Reads a streamed answer into the sink. An answer counts as complete when it says how it finished; one that only
 * stops is an error, never a short answer.
 */
export async function readAnswer(
  body: Dispatcher.ResponseData['body'],
  wantsLogprobs: boolean,
  sink: EngineSink,
  signal: AbortSignal,
): Promise<EngineEnd> {
  const answer = new Answer(wantsLogprobs, sink)
  const decoder = new StringDecoder('utf8')
  try {
    for await (const chunk of chunksOf(body, engineLimits.upstreamAnswerBytesMax, signal)) {
      answer.feed(decoder.write(chunk))
      await answer.deliver()
      if (answer.done) break
    }
  } catch (error) {
    body.destroy()
    throw error
  }
  // Nothing of interest follows; once it has ended, its connection serves the next request.
  body.dump({ limit: engineLimits.upstreamAnswerBytesMax }).catch(() => {})
  return answer.end()
}

class Answer {
  readonly #wantsLogprobs: boolean
  readonly #sink: EngineSink
  readonly #events: string[] = []
  readonly #parser = createParser({
    maxBufferSize: engineLimits.upstreamEventCharsMax,
    onEvent: ({ data }) => this.#events.push(data),
    onError: (error) => {
      if (error.type === 'max-buffer-size-exceeded') this.#oversized = true
    },
  })
  #oversized = false
  #finish: FinishReason | undefined
  #usage: UsageClaim | undefined
  #pieces = 0
  done = false

  constructor(wantsLogprobs: boolean, sink: EngineSink) {
    this.#wantsLogprobs = wantsLogprobs
    this.#sink = sink
  }

  feed(text: string): void {
    this.#parser.feed(text)
    if (this.#oversized) throw new UpstreamFault('the upstream sent an event that is too large')
  }

  /** Hands on what was fed; waits for a slow reader. */
  async deliver(): Promise<void> {
    for (const data of this.#events.splice(0)) {
      if (data === '[DONE]') this.done = true
      if (this.done) return
      await this.#read(data)
    }
  }

  end(): EngineEnd {
    if (this.#finish === undefined) throw new UpstreamFault('the upstream ended before its answer was complete')
    return { finish: this.#finish, usage: this.#usage ?? { promptTokens: 0, completionTokens: this.#pieces } }
  }

  async #read(data: string): Promise<void> {
    const chunk = parseChunk(data)
    if (chunk.error !== undefined && chunk.error !== null)
      throw new UpstreamFault('the upstream broke off with an error')
    const { usage } = chunk
    if (usage) {
      this.#usage = {
        promptTokens: usage.prompt_tokens ?? 0,
        completionTokens: usage.completion_tokens ?? this.#pieces,
      }
    }
    const choice = chunk.choices?.find(({ index }) => (index ?? 0) === 0)
    if (!choice) return
    const tokens = tokensOf(choice, this.#wantsLogprobs)
    const extras = extrasOf(choice)
    this.#pieces += tokens.length
    if (choice.finish_reason) this.#finish = finishOf(choice.finish_reason)
    if (extras) this.#sink.delta(extras)
    if (tokens.length > 0) await this.#sink.tokens(tokens)
  }
}

function parseChunk(data: string) {
  let json: unknown
  try {
    json = JSON.parse(data)
  } catch {
    throw new UpstreamFault('the upstream sent an event that is not JSON')
  }
  const parsed = answerChunkSchema.safeParse(json)
  if (!parsed.success) throw new UpstreamFault('the upstream sent an event that is no part of an answer')
  return parsed.data
}
