import { z } from 'zod'
import { type FactExchange, factKinds } from '#federation'
import { type Route, route } from '../route.ts'
import { timeOrNull, timeSchema, timeText } from './page.ts'

/** Facts as those who run the pool see them. */
export interface FactsAdmin {
  readonly facts: Pick<FactExchange['facts'], 'view' | 'faults' | 'discard'>
  readonly notices: Pick<FactExchange['notices'], 'list' | 'close'>
  readonly witness: Pick<FactExchange['witness'], 'vouchers'>
  readonly silentWitnesses: FactExchange['silentWitnesses']
}

const base = '/v1/admin/federation'
const shownMax = 1_000

const factSchema = z.strictObject({
  object: z.literal('fact'),
  hash: z.string(),
  author: z.string(),
  kind: z.string(),
  name: z.string(),
  /** Text where it is text, else base64. */
  value: z.string(),
  at: timeSchema,
  expires_at: timeSchema.nullable(),
})

const faultSchema = z.strictObject({
  object: z.literal('fault'),
  author: z.string(),
  /** `fork`: both go on from the same fact; `order`: the second is not later than the first. */
  kind: z.enum(['fork', 'order']),
  facts: z.array(z.string()),
  found_at: timeSchema,
})

const noticeSchema = z.strictObject({
  object: z.literal('notice'),
  id: z.string(),
  kind: z.string(),
  peer: z.string(),
  subject: z.string(),
  text: z.string(),
  at: timeSchema,
  closed_at: timeSchema.nullable(),
  closed_by: z.string().nullable(),
})

const voucherSchema = z.strictObject({
  object: z.literal('voucher'),
  /** Null: this pool. */
  witness: z.string().nullable(),
  pool: z.string().nullable(),
  generation: z.int(),
  /** Leaves. */
  size: z.int(),
  at: timeSchema,
})

const silenceSchema = z.strictObject({ witness: z.string(), since: timeSchema })

/** What pools say to all others, and what waits for a human because of it. */
export function factRoutes(admin: FactsAdmin): Route[] {
  const { facts, notices, witness } = admin
  return [
    route({
      method: 'GET',
      path: `${base}/facts`,
      caller: 'auditor',
      summary: 'What stands of what pools say to all others: models and prices, revocations, slashes, forks.',
      query: z.strictObject({ kind: z.enum(factKinds).optional() }),
      reply: z.strictObject({ object: z.literal('list'), data: z.array(factSchema) }),
      handle: async ({ query: { kind } }) => ({
        object: 'list',
        data: (await facts.view(kind, shownMax)).map(({ hash, author, kind, name, value, ms, expires }) => ({
          object: 'fact' as const,
          hash,
          author,
          kind,
          name,
          value: textOf(value ?? Buffer.alloc(0)),
          at: timeText(ms),
          expires_at: timeOrNull(expires),
        })),
      }),
    }),
    route({
      method: 'GET',
      path: `${base}/facts/faults`,
      caller: 'auditor',
      summary: 'Pools that contradict themselves: two signed facts each.',
      reply: z.strictObject({ object: z.literal('list'), data: z.array(faultSchema) }),
      handle: async () => ({
        object: 'list',
        data: (await facts.faults()).slice(0, shownMax).map(({ author, kind, facts, foundAt }) => ({
          object: 'fault' as const,
          author,
          kind,
          facts: [...facts],
          found_at: timeText(foundAt),
        })),
      }),
    }),
    route({
      method: 'POST',
      path: `${base}/facts/:hash/discard`,
      caller: 'admin',
      summary: 'Put a fact aside, with all that go on from it: what its author said besides counts again.',
      body: z.strictObject({}),
      reply: z.strictObject({ object: z.literal('fact'), hash: z.string() }),
      handle: async ({ params, actor }) => {
        const hash = params.hash ?? ''
        await facts.discard(hash, actor)
        return { object: 'fact', hash }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/witnesses`,
      caller: 'auditor',
      summary: 'Who vouches for whose log, and up to which leaf.',
      reply: z.strictObject({
        object: z.literal('list'),
        data: z.array(voucherSchema),
        silent: z.array(silenceSchema),
      }),
      handle: async () => ({
        object: 'list',
        data: (await witness.vouchers()).map(({ witness, pool, generation, size, time }) => ({
          object: 'voucher' as const,
          witness,
          pool,
          generation,
          size: Number(size),
          at: timeText(Number(time) * 1_000),
        })),
        silent: admin.silentWitnesses().map(({ witness, since }) => ({ witness, since: timeText(since) })),
      }),
    }),
    route({
      method: 'GET',
      path: `${base}/notices`,
      caller: 'auditor',
      summary: 'What waits for a human because of other pools; newest first.',
      query: z.strictObject({ all: z.enum(['true', 'false']).optional() }),
      reply: z.strictObject({ object: z.literal('list'), data: z.array(noticeSchema) }),
      handle: async ({ query: { all } }) => ({
        object: 'list',
        data: (await notices.list(all === 'true')).map(({ id, kind, peer, subject, text, at, closedAt, closedBy }) => ({
          object: 'notice' as const,
          id,
          kind,
          peer,
          subject,
          text,
          at: timeText(at),
          closed_at: timeOrNull(closedAt),
          closed_by: closedBy,
        })),
      }),
    }),
    route({
      method: 'POST',
      path: `${base}/notices/:id/close`,
      caller: 'operator',
      summary: 'A human has looked; a worker suspected because of it is checked as before.',
      body: z.strictObject({}),
      reply: z.strictObject({ object: z.literal('notice'), id: z.string() }),
      handle: async ({ params, actor }) => {
        const id = params.id ?? ''
        await notices.close(id, actor)
        return { object: 'notice', id }
      },
    }),
  ]
}

/** Facts of the kinds known here are JSON. */
function textOf(value: Buffer): string {
  const text = value.toString('utf8')
  return Buffer.from(text, 'utf8').equals(value) ? text : value.toString('base64')
}
