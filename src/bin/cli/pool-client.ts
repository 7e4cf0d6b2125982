import { readFileSync } from 'node:fs'
import type http from 'node:http'
import type https from 'node:https'
import path from 'node:path'
import type { Settings } from '#config'
import { binLimits } from '../limits.ts'
import { CommandProblem, PoolRefusal, UnreachableError } from './problem.ts'

/** Where a running pool is, as it wrote it into its data folder. */
export interface PoolFile {
  readonly url: string
  readonly pid: number
  readonly pool_id: string
  /** Certificate the pool serves with: a command on the same machine trusts exactly that. */
  readonly tls_cert?: string
}

export interface Answer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: http.IncomingMessage
}

/** Taken when needed, and not by `import`: a module namespace of node:http loads all of undici, 30 ms (measured). */
const requesterFor = ({ protocol }: URL): typeof https.request =>
  process.getBuiltinModule(protocol === 'https:' ? 'node:https' : 'node:http').request

/** Speaks HTTP to one pool: `/v1/admin/*` with the owner's key or one with a role, everything else with an API key. */
export class PoolClient {
  readonly url: string
  readonly #settings: Settings
  readonly #certificate: string | undefined

  constructor(settings: Settings) {
    this.#settings = settings
    const file = settings.url === undefined ? readPoolFile(settings.data) : undefined
    const url = settings.url ?? file?.url
    if (url === undefined) throw new UnreachableError(`No pool runs on ${settings.data}.`)
    this.url = url
    this.#certificate = file?.tls_cert === undefined ? undefined : readFileSync(file.tls_cert, 'utf8')
  }

  /** The parsed answer; a refusal of the pool is thrown as it was said. */
  async json<T>(method: string, route: string, body?: object): Promise<T> {
    const answer = await this.request(method, route, body)
    if (answer.status >= 400) return this.refuse(answer)
    const text = await this.#textOf(answer)
    try {
      return (text === '' ? {} : JSON.parse(text)) as T
    } catch {
      throw notAPool(`What answers at ${this.url} is no pool.`)
    }
  }

  /** Throws what the pool said no with. */
  async refuse(answer: Answer): Promise<never> {
    const refusal = refusalOf(answer.status, await this.#textOf(answer))
    throw refusal.code === 'missing_api_key' ? this.#noKey() : refusal
  }

  /** What the pool says then is for programs that speak HTTP: which header it misses. */
  #noKey(): CommandProblem {
    const message = `There is no key for the pool at ${this.url}, in ${this.#settings.data} or in the environment.`
    const fix =
      'Administration takes `LICHEN_ADMIN_KEY`, the content of the pool’s owner.key or an API key with a role; to ask a model takes an API key, in `LICHEN_API_KEY`.'
    return new CommandProblem('missing_api_key', message, fix)
  }

  async #textOf({ body }: Answer): Promise<string> {
    const chunks: Buffer[] = []
    let bytes = 0
    try {
      for await (const chunk of body) {
        bytes += chunk.length
        if (bytes <= binLimits.answerBytesMax) chunks.push(chunk)
      }
    } catch (error) {
      const why = (error as NodeJS.ErrnoException).code ?? String(error)
      throw new UnreachableError(`The pool at ${this.url} broke off while it answered (${why}).`)
    }
    if (bytes <= binLimits.answerBytesMax) return Buffer.concat(chunks).toString('utf8')
    throw notAPool(`What answers at ${this.url} sent more than ${binLimits.answerBytesMax} bytes.`)
  }

  /** Every page of a list whose rows have ids. */
  all<T extends { readonly id: string }>(route: string): Promise<T[]> {
    return this.allBy<T>(route, ({ id }) => id)
  }

  /** Every page of a list; the next one begins after the name of a row. */
  async allBy<T>(route: string, nameOf: (row: T) => string): Promise<T[]> {
    const rows: T[] = []
    for (let more = true; more; ) {
      const last = rows.at(-1)
      const after = last && nameOf(last)
      const query = after === undefined ? '' : `${route.includes('?') ? '&' : '?'}after=${encodeURIComponent(after)}`
      const page = await this.json<{ data: T[]; has_more?: boolean }>('GET', `${route}${query}`)
      rows.push(...page.data)
      more = page.has_more === true && page.data.length > 0
    }
    return rows
  }

  /** One request; resolves when the head of the answer is there. */
  request(method: string, route: string, body?: object): Promise<Answer> {
    const url = new URL(`${this.url}${route}`)
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
    const headers = {
      ...this.#credential(route),
      ...(payload ? { 'content-type': 'application/json', 'content-length': payload.length } : {}),
    }
    return new Promise((resolve, reject) => {
      const request = requesterFor(url)(url, { method, headers, agent: false, ...this.#trust() }, (message) =>
        resolve({ status: message.statusCode ?? 0, headers: message.headers, body: message }),
      )
      request.on('error', (error: NodeJS.ErrnoException) => {
        const why = error.code ?? error.message
        reject(new UnreachableError(`The pool at ${this.url} does not answer (${why}).`))
      })
      request.end(payload)
    })
  }

  /** Our own pool's certificate need not name 127.0.0.1; being that very certificate is enough. */
  #trust(): https.RequestOptions {
    if (this.#certificate === undefined) return {}
    return { ca: this.#certificate, checkServerIdentity: () => undefined, allowPartialTrustChain: true }
  }

  #credential(route: string): Record<string, string> {
    const { adminKey, apiKey, data } = this.#settings
    const admin = route.startsWith('/v1/admin')
    const key = admin ? (adminKey ?? secretIn(data, 'owner.key')) : (apiKey ?? secretIn(data, 'first-api-key'))
    return key === undefined ? {} : { authorization: `Bearer ${key}` }
  }
}

/** What the pool on this data folder says of itself; undefined when none wrote anything. */
export function readPoolFile(data: string): PoolFile | undefined {
  const text = secretIn(data, 'pool.json')
  if (text === undefined) return undefined
  try {
    return JSON.parse(text) as PoolFile
  } catch {
    throw new UnreachableError(`${path.join(data, 'pool.json')} is damaged: where its pool is, is not known.`)
  }
}

function secretIn(data: string, name: string): string | undefined {
  const file = path.join(data, name)
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (['ENOENT', 'ENOTDIR'].includes(code)) return undefined
    throw notReadable(file, code)
  }
}

/** Most often somebody else's folder. */
function notReadable(file: string, code: string): CommandProblem {
  const fix =
    'Do it as the user the pool runs as, or name the pool with --url and give a key in LICHEN_ADMIN_KEY or LICHEN_API_KEY.'
  return new CommandProblem('key_file_unsafe', `${file} cannot be read (${code}).`, fix)
}

function refusalOf(status: number, text: string): PoolRefusal {
  try {
    const { code, message } = JSON.parse(text).error
    return new PoolRefusal(String(code), String(message))
  } catch {
    return notAPool(`The pool answered ${status} without saying why.`)
  }
}

const notAPool = (sentence: string) =>
  new PoolRefusal('unexpected_answer', `${sentence} Look at --url and at what stands before the pool.`)
