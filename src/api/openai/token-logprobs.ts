import { isUtf8 } from 'node:buffer'
import type { Token } from '#protocol'

/** The token as text; bytes that are no whole character are written `\xe2\x82`, as OpenAI writes them. */
function tokenText(piece: Buffer, partialPrefix: string): string {
  if (isUtf8(piece)) return piece.toString('utf8')
  let text = partialPrefix
  for (const byte of piece) text += `\\x${byte.toString(16).padStart(2, '0')}`
  return text
}

const bytesJson = (piece: Buffer) => `[${piece.join(',')}]`

/** What a log probability may be in JSON: OpenAI writes −9999 for "practically impossible". */
const finite = (logprob: number) => (Number.isFinite(logprob) ? logprob : -9999)

const entryJson = (piece: Buffer, logprob: number) =>
  `"token":${JSON.stringify(tokenText(piece, ''))},"logprob":${finite(logprob)},"bytes":${bytesJson(piece)}`

/** Items of a chat choice's `logprobs.content`, comma-separated. `topMax` is the request's `top_logprobs`. */
export function chatLogprobItems(tokens: readonly Token[], topMax: number): string {
  return tokens
    .filter((token) => token.logprob !== undefined)
    .map((token) => {
      const top = (token.top ?? []).slice(0, topMax).map((one) => `{${entryJson(one.piece, one.logprob)}}`)
      return `{${entryJson(token.piece, token.logprob ?? 0)},"top_logprobs":[${top.join(',')}]}`
    })
    .join(',')
}

/** The parallel lists of a text completion's `logprobs`. */
export class LegacyLogprobs {
  readonly tokens: string[] = []
  readonly token_logprobs: number[] = []
  readonly top_logprobs: Record<string, number>[] | null
  readonly text_offset: number[] = []
  readonly #topMax: number
  #offset: number

  /** `offset`: characters of the prompt; the offsets count from the beginning of the prompt (OpenAI). */
  constructor(topMax: number, offset: number) {
    this.#topMax = topMax
    this.#offset = offset
    this.top_logprobs = topMax > 0 ? [] : null
  }

  add(tokens: readonly Token[]): void {
    for (const token of tokens) {
      if (token.logprob === undefined) continue
      const text = tokenText(token.piece, 'bytes:')
      this.tokens.push(text)
      this.token_logprobs.push(finite(token.logprob))
      this.text_offset.push(this.#offset)
      this.#offset += text.length
      if (!this.top_logprobs) continue
      const top: Record<string, number> = {}
      for (const one of (token.top ?? []).slice(0, this.#topMax)) {
        top[tokenText(one.piece, 'bytes:')] = finite(one.logprob)
      }
      top[text] = finite(token.logprob)
      this.top_logprobs.push(top)
    }
  }

  /** What was added since the last call, as JSON; the lists start again, the offset goes on. */
  takeJson(): string {
    const json = JSON.stringify({
      tokens: this.tokens,
      token_logprobs: this.token_logprobs,
      top_logprobs: this.top_logprobs,
      text_offset: this.text_offset,
    })
    this.tokens.length = 0
    this.token_logprobs.length = 0
    this.text_offset.length = 0
    if (this.top_logprobs) this.top_logprobs.length = 0
    return json
  }
}
