import { z } from 'zod'
import type { ApiLimits } from '../limits.ts'

/** What a list is asked with: `limit` rows, beginning after the row with id `after`. */
export function pageQuery(limits: ApiLimits, id: z.ZodType<string>) {
  return z.strictObject({
    limit: z.coerce.number().int().min(1).max(limits.pageMax).default(limits.pageDefault),
    after: id.optional(),
  })
}

export interface PageWish {
  readonly limit: number
  readonly after?: string | undefined
}

/** One page of a list, in OpenAI's form. */
export const pageSchema = <Row extends z.ZodType>(row: Row) =>
  z.strictObject({ object: z.literal('list'), data: z.array(row), has_more: z.boolean() })

/** Asks for one row more than wanted, which tells whether there are more. */
export async function pageOf<Record, Row>(
  { limit, after }: PageWish,
  read: (page: { limit: number; after?: string }) => Promise<readonly Record[]>,
  toRow: (record: Record) => Row,
): Promise<{ object: 'list'; data: Row[]; has_more: boolean }> {
  const records = await read({ limit: limit + 1, ...(after === undefined ? {} : { after }) })
  return { object: 'list', data: records.slice(0, limit).map(toRow), has_more: records.length > limit }
}

/** RFC 3339 in UTC. */
export const timeText = (ms: number): string => new Date(ms).toISOString()
export const timeOrNull = (ms: number | null): string | null => (ms === null ? null : timeText(ms))
export const timeSchema = z.iso.datetime()
