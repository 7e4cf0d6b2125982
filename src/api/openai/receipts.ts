import { z } from 'zod'
import { mayActAs } from '#identity'
import { PoolError, priceListSchema } from '#protocol'
import type { ApiDeps } from '../deps.ts'
import { type Route, route, TextReply } from '../route.ts'

const pendingSchema = z.strictObject({ object: z.literal('receipt'), id: z.string(), status: z.literal('pending') })

const onlyTheirs =
  'See `x-lichen-receipt` of the response, and ask with the API key that asked for it (`LICHEN_API_KEY`), or with an auditor’s.'

/** What a client is told of its own money: the receipt of an answer, and what tokens cost. */
export function receiptRoutes(deps: Pick<ApiDeps, 'receipt' | 'prices'>): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/receipts/:id',
      caller: 'client',
      summary: 'The receipt of an answer as a file that anyone can check; 202 while it is not settled.',
      reply: pendingSchema,
      handle: async ({ params, client }) => {
        const id = params.id ?? ''
        const known = z.guid().safeParse(id).success ? await deps.receipt(id.toLowerCase()) : undefined
        // Of another key's answers nobody learns whether they exist.
        const visible = known && client && (known.keyId === client.id || mayActAs(client.role, 'auditor'))
        if (!visible) throw new PoolError('not_found', `There is no receipt ${id} for this key.`, onlyTheirs)
        if (known.state === 'ready') return new TextReply('application/json', known.file.toString())
        return new TextReply('application/json', JSON.stringify({ object: 'receipt', id, status: 'pending' }), 202, [
          'retry-after',
          '1',
        ])
      },
    }),
    route({
      method: 'GET',
      path: '/v1/prices',
      caller: 'client',
      summary: 'What a token of each model costs, and what an order must name.',
      reply: priceListSchema,
      handle: async ({ client }) => {
        const list = await deps.prices()
        const required = client?.requiredWorkers ?? list.required_workers
        return { ...list, account: client?.account ?? '', required_workers: required }
      },
    }),
  ]
}
