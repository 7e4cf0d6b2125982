import type { z } from 'zod'
import { parseJson, protocolLimits } from '#protocol'
import { type Decoded, malformed } from './messages.ts'

/** A JSON body, parsed strictly and checked against its schema. */
export function decodeJson<T>(what: string, schema: z.ZodType<T>, body: Buffer, bytesMax: number): Decoded<T> {
  if (body.length > bytesMax) return malformed(what, `is longer than ${bytesMax} bytes`)
  const json = parseJson(body, { bodyBytesMax: bytesMax, jsonDepthMax: protocolLimits.jsonDepthMax })
  if (!json.ok) return malformed(what, 'is not strict JSON')
  const parsed = schema.safeParse(json.value)
  if (parsed.success) return { ok: true, message: parsed.data }
  const field = parsed.error.issues[0]?.path.map(String).join('.')
  return malformed(what, field ? `has a wrong field ${field.slice(0, 80)}` : 'has wrong fields')
}
