import { z } from 'zod'
import type { TransferRow } from '#ledger'
import { timeSchema, timeText } from '../admin/page.ts'

/** A grant or payment as it stands in the ledger. */
export const movedSchema = z.strictObject({
  object: z.literal('transfer'),
  id: z.string(),
  kind: z.string(),
  /** When it was applied. */
  at: timeSchema,
  from: z.string(),
  to: z.string(),
  /** Micro-credits. */
  amount: z.string(),
})

export function movedJson({ id, kind, at, from, to, amount }: TransferRow): z.infer<typeof movedSchema> {
  return {
    object: 'transfer',
    id,
    kind,
    at: timeText(at),
    from,
    to: to[0]?.account ?? '',
    amount: amount.toString(),
  }
}
