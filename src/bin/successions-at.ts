import { request } from 'undici'
import { z } from 'zod'
import { successionsPath } from '#federation'
import { PoolError, parseJson } from '#protocol'
import { binLimits } from './limits.ts'

const shownSchema = z.object({ data: z.array(z.object({ note: z.string().max(2_000) })).max(64) })

/** Statements about the keys of the pool at a URL; whatever it says is checked by who asks. @throws PoolError pool_unreachable. */
export async function successionsAt(url: string): Promise<readonly string[]> {
  const at = new URL(successionsPath.slice(1), `${url.replace(/^ws/, 'http').replace(/\/*$/, '')}/`)
  try {
    const answer = await request(at, { headersTimeout: 10_000, bodyTimeout: 10_000 })
    const parts: Buffer[] = []
    let bytes = 0
    for await (const part of answer.body as AsyncIterable<Buffer>) {
      bytes += part.length
      if (bytes > binLimits.successionsBytesMax) throw new Error(`more than ${binLimits.successionsBytesMax} bytes`)
      parts.push(part)
    }
    const json = parseJson(Buffer.concat(parts), { bodyBytesMax: binLimits.successionsBytesMax, jsonDepthMax: 8 })
    return shownSchema.parse(json.ok ? json.value : undefined).data.map(({ note }) => note)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new PoolError(
      'pool_unreachable',
      `The pool at ${url} did not say which keys it has had: ${why}.`,
      'Try again.',
    )
  }
}
