import { z } from 'zod'
import { ownerNameSchema } from '#identity'
import { type Price, priceUnits } from '#ledger'
import { insertAct } from '#log'
import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import type { MoneyDeps } from '../money/money-deps.ts'
import { type Route, route } from '../route.ts'
import { microCreditsSchema } from './credits.ts'
import { pageSchema, timeSchema, timeText } from './page.ts'

const priceSchema = z.strictObject({
  object: z.literal('price'),
  /** `*`: every model without a price of its own. */
  model: z.string(),
  unit: z.enum(priceUnits),
  /** Micro-credits for one unit. */
  amount: z.string(),
  valid_from: timeSchema,
  /** Counts now; false: will. */
  current: z.boolean(),
  set_by: z.string(),
})

/** How much is too much, the ledger says. */
const unitPrice = microCreditsSchema.optional()

const newPriceSchema = z
  .strictObject({
    model: ownerNameSchema,
    prompt_token: unitPrice,
    completion_token: unitPrice,
    cpu_100ms: unitPrice,
    /** Now when absent; never in the past. */
    valid_from: timeSchema.optional(),
  })
  .refine((body) => priceUnits.some((unit) => body[unit] !== undefined), {
    message: 'at least one of prompt_token, completion_token, cpu_100ms',
    path: ['prompt_token'],
  })

/** The price list. Prices are only ever added. */
export function priceRoutes(money: Pick<MoneyDeps, 'ledger'>, runtime: Pick<Runtime, 'now'>): Route[] {
  const toRow = (price: Price): z.infer<typeof priceSchema> => ({
    object: 'price',
    model: price.model,
    unit: price.unit,
    amount: price.amount.toString(),
    valid_from: timeText(price.validFrom),
    current: price.validFrom <= runtime.now(),
    set_by: price.setBy,
  })
  const page = (list: readonly Price[]) => ({ object: 'list' as const, data: list.map(toRow), has_more: false })
  return [
    route({
      method: 'GET',
      path: '/v1/admin/prices',
      caller: 'auditor',
      summary: 'Prices that count now or will, `*` first; whole.',
      reply: pageSchema(priceSchema),
      handle: async () => page(await money.ledger.prices.list()),
    }),
    route({
      method: 'POST',
      path: '/v1/admin/prices',
      caller: 'admin',
      summary:
        'Set what units of a model, or of `*`, cost from now or a later time on. Running requests keep their prices.',
      body: newPriceSchema,
      reply: pageSchema(priceSchema),
      status: 201,
      handle: async ({ body, actor }) => {
        const validFrom = startOf(body.valid_from, runtime.now())
        const wanted = priceUnits.flatMap((unit) => {
          const amount = body[unit]
          return amount === undefined
            ? []
            : [{ model: body.model, unit, amount: BigInt(amount), validFrom, setBy: actor }]
        })
        const units = Object.fromEntries(wanted.map(({ unit, amount }) => [unit, amount.toString()]))
        const details = { ...units, valid_from: timeText(validFrom) }
        const made = await money.ledger.prices.setAll(wanted, async (tx) => {
          await insertAct(tx, { actor, action: 'price.set', subject: `model:${body.model}`, details })
        })
        return page(made)
      },
    }),
  ]
}

/** A price that began before the one in force would never count. */
function startOf(text: string | undefined, now: number): number {
  const start = text === undefined ? now : Date.parse(text)
  if (start >= now) return start
  const message = 'A price cannot begin in the past.'
  throw new PoolError('invalid_request', message, 'Leave `valid_from` out to begin now.', { param: 'valid_from' })
}
