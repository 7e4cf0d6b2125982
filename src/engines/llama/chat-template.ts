import { Template } from '@huggingface/jinja'
import { type ChatMessage, type ChatRequest, PoolError } from '#protocol'

/** Code points that are no characters and stand in no exchanged text (Unicode 16, §23.7). */
const marks = Array.from({ length: 32 }, (_, index) => String.fromCodePoint(0xfdd0 + index))

const escapeRegExp = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

interface TemplateMessage {
  readonly role: string
  readonly content: string
}

/** The text of a message: its text parts, one per line. */
function textOf({ content }: ChatMessage): string {
  if (typeof content === 'string') return content
  const parts = content ?? []
  return parts
    .map((part) => {
      if (part.type === 'text') return part.text
      if (part.type === 'refusal') return part.refusal
      throw unsupported('messages', 'This model reads text only.', 'Send text, or use a model that can see.')
    })
    .join('\n')
}

function templateMessages(request: ChatRequest): TemplateMessage[] {
  if (request.tools?.length) {
    throw unsupported(
      'tools',
      'This model runs without tools.',
      'Use a model served by an upstream that supports tools.',
    )
  }
  return request.messages.map((message) => {
    if (message.role === 'tool' || (message.role === 'assistant' && message.tool_calls?.length)) {
      const fix = 'Use a model served by an upstream that supports tools.'
      throw unsupported('messages', 'This model runs without tools.', fix)
    }
    return { role: message.role === 'developer' ? 'system' : message.role, content: textOf(message) }
  })
}

/** Turns a conversation into the text a model was trained on, by the Jinja template in its file. */
export class ChatTemplate {
  readonly #source: string
  readonly #template: Template
  readonly #bos: string
  readonly #eos: string
  readonly #control: RegExp | undefined

  /** Throws when the template is not Jinja. `controlTexts` are the spellings of control tokens. */
  constructor(source: string, special: { bos: string; eos: string; controlTexts: readonly string[] }) {
    this.#source = source
    this.#template = new Template(source)
    this.#bos = special.bos
    this.#eos = special.eos
    const texts = special.controlTexts.filter((text) => text.length > 1).sort((a, b) => b.length - a.length)
    this.#control = texts.length === 0 ? undefined : new RegExp(texts.map(escapeRegExp).join('|'), 'g')
  }

  /**
   * The prompt, in pieces to be tokenised apart. There is one piece, unless a message spells out a control token: it
   * is cut there, so that what a user writes never steers the model.
   */
  render(request: ChatRequest): readonly string[] {
    const messages = templateMessages(request)
    const [mark, end] = marks.filter((one) => messages.every(({ content }) => !content.includes(one)))
    if (mark === undefined || end === undefined) {
      throw new PoolError('invalid_request', 'The messages hold every noncharacter of Unicode.', 'Leave one out.', {
        param: 'messages',
      })
    }
    const cut = messages.map((message) => ({ ...message, content: this.#cut(message.content, mark) }))
    if (!request.continue_final_message) return this.#render(cut, true).split(mark)
    // Marked, its end is found, and no template trims its spaces.
    const begun = cut.map((one, n) => (n === cut.length - 1 ? { ...one, content: one.content + end } : one))
    const [text = '', ...more] = this.#render(begun, false).split(end)
    if (more.length === 1) return text.split(mark)
    throw unsupported(
      'continue_final_message',
      'The template of this model does not show the last message.',
      'Leave it out.',
    )
  }

  /** `<|im_end|>` becomes `<` mark `|im_end|>`: the same text once the mark is gone, and no control token. */
  #cut(content: string, mark: string): string {
    if (!this.#control) return content
    return content.replace(this.#control, (text) => {
      const [first = ''] = text
      return first + mark + text.slice(first.length)
    })
  }

  #render(messages: readonly TemplateMessage[], addGenerationPrompt: boolean): string {
    try {
      return this.#template.render({
        messages,
        bos_token: this.#bos,
        eos_token: this.#eos,
        add_generation_prompt: addGenerationPrompt,
      })
    } catch (error) {
      // A template's own words ("Conversation roles must alternate") may be shown; whatever else it says may quote a message.
      const said = error instanceof Error ? error.message : ''
      const why = said !== '' && this.#source.includes(said) ? `: ${said.slice(0, 200)}` : ''
      const fix = 'Send the roles this model was trained on, usually system, then user and assistant in turns.'
      throw new PoolError('invalid_request', `The model's chat template refuses these messages${why}.`, fix, {
        param: 'messages',
      })
    }
  }
}

function unsupported(param: string, message: string, fix: string): PoolError {
  return new PoolError('unsupported_parameter', message, fix, { param })
}
