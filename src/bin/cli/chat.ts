import readline from 'node:readline/promises'
import { Command, InvalidArgumentError } from 'commander'
import { exitCodes } from './exit-codes.ts'
import type { ModelRow } from './models.ts'
import { positive, settingsOf, withExamples, withSettings } from './options.ts'
import { clean, dim } from './output.ts'
import { PoolClient } from './pool-client.ts'
import { CommandProblem, explain, PoolRefusal, reportProblem } from './problem.ts'

interface Message {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string
}
interface ChatOptions {
  readonly model?: string
  readonly system?: string
  readonly temperature?: number
  readonly maxTokens?: number
  readonly json?: boolean
}

export function chatCommand(): Command {
  const command = new Command()
    .argument('[message...]', 'ask this one thing and end; without it, talk')
    .option('--model <name>', 'which model (default: the first the pool lists)')
    .option('--system <text>', 'what the model is told first')
    .option('--temperature <number>', '0 always takes the likeliest token', temperature)
    .option('--max-tokens <n>', 'longest answer', positive)
    .action(async (words: string[], options: ChatOptions, self: Command) => {
      const talk = await Talk.begin(new PoolClient(await settingsOf(self)), options)
      if (words.length > 0) await talk.once(words.join(' '))
      else await talk.converse()
    })
  withSettings(command, ['client'])
  return withExamples(command, [
    ['lichen chat "3+4=?"', 'one question, streamed'],
    ['lichen chat --system "Answer in French."', 'a conversation; /reset forgets it, Ctrl-D ends it'],
    ['echo "tell me about lichen" | lichen chat', 'the question from a pipe'],
  ])
}

function temperature(text: string): number {
  const number = text.trim() === '' ? Number.NaN : Number(text)
  if (!(number >= 0 && number <= 2)) throw new InvalidArgumentError('Give a number from 0 to 2.')
  return number
}

/** One conversation: every question carries what was said before. */
class Talk {
  readonly #client: PoolClient
  readonly #options: ChatOptions
  readonly #model: string
  #said: Message[]

  constructor(client: PoolClient, options: ChatOptions, model: string) {
    this.#client = client
    this.#options = options
    this.#model = model
    this.#said = this.#beginning()
  }

  static async begin(client: PoolClient, options: ChatOptions): Promise<Talk> {
    return new Talk(client, options, options.model ?? (await firstModel(client)))
  }

  #beginning(): Message[] {
    return this.#options.system === undefined ? [] : [{ role: 'system', content: this.#options.system }]
  }

  /** One question and its streamed answer; with `--json` the whole answer as the API gave it. */
  async once(question: string): Promise<void> {
    this.#said.push({ role: 'user', content: question })
    if (this.#options.json === true) {
      const answer = await this.#client.json('POST', '/v1/chat/completions', this.#request(false))
      process.stdout.write(`${JSON.stringify(answer)}\n`)
      return
    }
    this.#said.push({ role: 'assistant', content: await this.#stream() })
  }

  async converse(): Promise<void> {
    const terminal = process.stdin.isTTY === true
    if (terminal) process.stderr.write(dim(`Talking to ${clean(this.#model)}. /reset forgets, Ctrl-D ends.\n`))
    const lines = readline.createInterface({ input: process.stdin, output: process.stderr, terminal, prompt: '› ' })
    if (terminal) lines.prompt()
    let asked = false
    for await (const line of lines) {
      if (line.trim() === '/reset') this.#said = this.#beginning()
      else if (line.trim() !== '') {
        asked = true
        await this.#answer(line, terminal)
      }
      if (terminal) lines.prompt()
    }
    if (!asked && !terminal) throw nothingAsked
  }

  /** On a terminal a refused question is said and forgotten; in a pipe it ends the command. */
  async #answer(question: string, terminal: boolean): Promise<void> {
    const before = this.#said.length
    try {
      await this.once(question)
    } catch (error) {
      if (!terminal) throw error
      this.#said.length = before
      reportProblem(explain(error), false)
    }
  }

  async #stream(): Promise<string> {
    const answer = await this.#client.request('POST', '/v1/chat/completions', this.#request(true))
    if (answer.status !== 200) await this.#client.refuse(answer)
    const { createParser } = await import('eventsource-parser')
    let text = ''
    let ended = false
    const parser = createParser({
      onEvent: ({ data }) => {
        if (data === '[DONE]') ended = true
        else {
          const piece = pieceOf(data)
          text += piece
          process.stdout.write(printable(piece))
        }
      },
    })
    const decoder = new TextDecoder()
    for await (const chunk of answer.body) parser.feed(decoder.decode(chunk, { stream: true }))
    process.stdout.write('\n')
    if (!ended) throw new CommandProblem('worker_lost', 'The answer broke off.', 'Ask again.')
    return text
  }

  #request(stream: boolean): object {
    const { temperature, maxTokens } = this.#options
    return {
      model: this.#model,
      messages: this.#said,
      stream,
      ...(temperature === undefined ? {} : { temperature }),
      ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
    }
  }
}

const nothingAsked = new CommandProblem(
  'config_invalid',
  'Nothing was asked: standard input ended before a question.',
  'Give it as an argument, as in `lichen chat "3+4=?"`, pipe it in, or use a terminal.',
  exitCodes.usage,
)

/** The text of one event. An error event ends the answer with what the pool said. */
function pieceOf(data: string): string {
  const event = JSON.parse(data)
  if (event.error) throw new PoolRefusal(String(event.error.code), String(event.error.message))
  return event.choices?.[0]?.delta?.content ?? ''
}

/** What a model writes may hold line ends and tabs, but may not drive the terminal. */
function printable(text: string): string {
  return text
    .split('\n')
    .map((line) => line.split('\t').map(clean).join('\t'))
    .join('\n')
}

async function firstModel(client: PoolClient): Promise<string> {
  const { data } = await client.json<{ data: ModelRow[] }>('GET', '/v1/models')
  const first = data[0]
  if (first) return first.id
  throw new CommandProblem(
    'no_worker',
    'The pool has no model right now.',
    '`lichen workers ls` shows who is connected.',
  )
}
