import { z } from 'zod'
import { amountText } from '../admin/credits.ts'
import { timeSchema, timeText } from '../admin/page.ts'
import { keyText } from '../admin/public-key.ts'
import type { Client } from '../deps.ts'
import { type Route, route } from '../route.ts'
import { acceptPayment } from './accept-payment.ts'
import type { Till } from './apply-signed.ts'
import { movedJson, movedSchema } from './transfer-shape.ts'

/** Micro-credits; null: no limit. */
const limitSchema = z.string().nullable()

const accountSchema = z.strictObject({
  object: z.literal('account'),
  account: z.string(),
  user_id: z.string(),
  /** Raw Ed25519 key the user signs with, base64url; null: the pool signs for it. */
  payer_key: z.string().nullable(),
  /** Micro-credits. */
  posted: z.string(),
  held: z.string(),
  /** What may be spent or reserved now. */
  available: z.string(),
  /** Limits of the key that was sent, and what is left of them. */
  budget: z.strictObject({
    key_id: z.string(),
    total: limitSchema,
    total_left: limitSchema,
    per_day: limitSchema,
    per_day_left: limitSchema,
    day_resets_at: timeSchema,
    requests_per_minute: z.int().nullable(),
    requests_left: z.int().nullable(),
    tokens_per_minute: z.int().nullable(),
    tokens_left: z.int().nullable(),
    minute_resets_at: timeSchema,
  }),
})

/** What a client may know and do of its own money. */
export function clientMoneyRoutes(till: Till): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/account',
      caller: 'client',
      summary: 'Your account: what it has, what is left of your key’s budget, and the key you sign with.',
      reply: accountSchema,
      handle: ({ client }) => accountOf(till, known(client)),
    }),
    route({
      method: 'POST',
      path: '/v1/transfers',
      caller: 'client',
      summary: 'Pay another user: a transfer signed with your payer key. The same one again is answered again.',
      body: z.strictObject({
        /** Wire form of a signed `transfer/1`, base64url. */
        transfer: z.string().min(1),
      }),
      reply: movedSchema,
      status: 201,
      handle: async ({ client, body }) => movedJson(await acceptPayment(till, known(client), body.transfer)),
    }),
  ]
}

/** The hook in front of the route lets nobody else pass. */
function known(client: Client | undefined): Client {
  if (!client) throw new Error('a client route was entered without a client')
  return client
}

async function accountOf({ money: { ledger } }: Till, client: Client): Promise<z.infer<typeof accountSchema>> {
  const { id, account, budgetTotal: total, budgetPerDay: perDay, requestsPerMinute, tokensPerMinute } = client
  const ask = { key: id, total, perDay, requestsPerMinute, tokensPerMinute, tokens: 0 }
  const [balance, left] = await Promise.all([ledger.balance(account), ledger.budgetLeft(account, ask)])
  return {
    object: 'account',
    account,
    user_id: client.userId,
    payer_key: client.payerKey && keyText(client.payerKey),
    posted: String(balance.posted),
    held: String(balance.held),
    available: String(balance.available),
    budget: {
      key_id: id,
      total: amountText(total),
      total_left: amountText(left.total),
      per_day: amountText(perDay),
      per_day_left: amountText(left.day),
      day_resets_at: timeText(left.dayResetsAt),
      requests_per_minute: requestsPerMinute,
      requests_left: left.requests,
      tokens_per_minute: tokensPerMinute,
      tokens_left: left.tokens,
      minute_resets_at: timeText(left.minuteResetsAt),
    },
  }
}
