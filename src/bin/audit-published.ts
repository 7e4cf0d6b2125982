import { request } from 'undici'
import { z } from 'zod'
import { acceptPublicKey, sha256 } from '#crypto'
import { hex64, openCheckpoint, PoolError, parseJson, type ReceiptExpectation } from '#protocol'
import { systemRuntime as runtime } from '#runtime'
import { judgePublished, type SamplingCount } from '#verification'
import { PoolRefusal } from './cli/problem.ts'
import { binLimits } from './limits.ts'

const hashBytes = 32
const tileLeaves = 256

/**
 * `lichen audit sampling --at`: every decision of an epoch, made again by a stranger, from what the pool at a URL shows to everybody.
 * `onLine` hears the disclosure. @throws PoolError history_changed with the first thing that is wrong; not_found when the epoch is not
 * told yet; pool_unreachable.
 */
export async function auditPublished(
  url: string,
  pin: Pick<ReceiptExpectation, 'poolId' | 'poolKey'>,
  epoch: number,
  onLine: (text: Buffer) => void,
): Promise<SamplingCount & { readonly pool: string }> {
  const pool = new PublicPool(url)
  const key = pin.poolKey ?? (await pool.key())
  if (!acceptPublicKey(key).ok) throw changed(`The pool at ${url} has no acceptable key.`)
  const id = sha256(key).toString('hex')
  if (pin.poolId !== undefined && pin.poolId !== id) {
    throw new PoolError('conflict', `The pool at ${url} is ${id}, not the one that --pool names.`, 'Ask the right one.')
  }
  const lines = pool.disclosure(epoch, onLine)
  // The log is read after the disclosure began: it holds all that is told.
  const first = await lines.next()
  const opened = openCheckpoint((await pool.bytes('/v1/log/checkpoint')).toString(), key)
  if (!opened.ok) throw changed(`The checkpoint of the pool at ${url} does not hold: ${opened.message}`)
  const { size, root } = opened.checkpoint
  async function* whole(): AsyncGenerator<Buffer> {
    if (first.done) return
    yield first.value
    yield* lines
  }
  const judged = await judgePublished(epoch, whole(), { size, root, leaves: () => pool.leaves(size) })
  if (!judged.ok) throw changed(judged.problem)
  return { ...judged.count, pool: id }
}

const changed = (problem: string) =>
  new PoolError('history_changed', problem, 'Keep what you have read (--out), and ask whoever runs the pool.')

/** What a pool shows to everybody. */
class PublicPool {
  readonly #url: string

  constructor(url: string) {
    this.#url = url.replace(/\/*$/, '')
  }

  /** Raw public key. */
  async key(): Promise<Buffer> {
    const body = await this.bytes('/v1/federation/info')
    const json = parseJson(body, { bodyBytesMax: binLimits.publicAnswerBytesMax, jsonDepthMax: 16 })
    const info = z.looseObject({ pubkey_hex: hex64 }).safeParse(json.ok ? json.value : 0)
    if (info.success) return Buffer.from(info.data.pubkey_hex, 'hex')
    throw this.#unreachable('it does not say its key', 'Give its public key: --pool.')
  }

  async bytes(path: string): Promise<Buffer> {
    const parts: Buffer[] = []
    let bytes = 0
    for await (const part of await this.#get(path)) {
      bytes += part.length
      if (bytes > binLimits.publicAnswerBytesMax) throw this.#unreachable('it says too much')
      parts.push(part)
    }
    return Buffer.concat(parts)
  }

  /** Lines without their line feeds. */
  async *disclosure(epoch: number, onLine: (text: Buffer) => void): AsyncGenerator<Buffer> {
    let rest: Buffer[] = []
    let bytes = 0
    for await (const part of await this.#get(`/v1/log/epochs/${epoch}`)) {
      let from = 0
      for (let end = part.indexOf(10); end >= 0; end = part.indexOf(10, from)) {
        const line = Buffer.concat([...rest, part.subarray(from, end)])
        ;[rest, bytes, from] = [[], 0, end + 1]
        onLine(Buffer.concat([line, Buffer.from('\n')]))
        yield line
      }
      rest.push(part.subarray(from))
      bytes += part.length - from
      if (bytes > binLimits.disclosureLineBytesMax) throw this.#unreachable('a line of what it tells is too long')
    }
    if (bytes > 0) throw this.#unreachable('what it tells breaks off')
  }

  async *leaves(size: number): AsyncGenerator<Buffer> {
    for (let at = 0; at < size; at += tileLeaves) {
      const width = Math.min(tileLeaves, size - at)
      const nodes = await this.bytes(`/v1/log/tile/0/${at / tileLeaves}${width < tileLeaves ? `?width=${width}` : ''}`)
      for (let n = 0; n + hashBytes <= nodes.length; n += hashBytes) yield nodes.subarray(n, n + hashBytes)
    }
  }

  async #get(path: string): Promise<AsyncIterable<Buffer>> {
    const patience = { headersTimeout: binLimits.publicReadMs, bodyTimeout: binLimits.publicReadMs }
    for (let attempt = 1; ; attempt++) {
      const answer = await request(`${this.#url}${path}`, patience).catch((error: Error) => {
        throw this.#unreachable(error.message)
      })
      if (answer.statusCode === 200) return this.#whole(answer.body)
      const refusal = refusalSchema.safeParse(await answer.body.json().catch(() => undefined))
      if (!refusal.success) throw this.#unreachable(`${path} is answered with ${answer.statusCode}`)
      const { code, message } = refusal.data.error
      if (code === 'not_found') throw new PoolRefusal(code, message)
      if (code !== 'overloaded' || attempt >= binLimits.publicReadAttemptsMax) throw this.#unreachable(message)
      await runtime.sleep(attempt * 1_000)
    }
  }

  async *#whole(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    try {
      yield* body
    } catch (error) {
      throw this.#unreachable((error as Error).message)
    }
  }

  #unreachable(why: string, fix = 'Try again.'): PoolError {
    return new PoolError('pool_unreachable', `The pool at ${this.#url} cannot be read: ${why.replace(/\.$/, '')}.`, fix)
  }
}

const refusalSchema = z.looseObject({ error: z.looseObject({ code: z.string(), message: z.string() }) })
