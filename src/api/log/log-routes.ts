import { z } from 'zod'
import type { LogReader } from '#log'
import { hex64, PoolError } from '#protocol'
import type { ToldEpochs } from '#verification'
import { type Route, route, StreamReply, TextReply } from '../route.ts'

/** A whole number in decimal, as this API writes it: no sign, no leading zero, at most 2^53 - 1. */
const decimal = z
  .string()
  .regex(/^(0|[1-9][0-9]{0,15})$/, 'a whole number in decimal')
  .transform(Number)
  .refine(Number.isSafeInteger, 'a number up to 2^53 - 1')

const inclusionQuery = z
  .strictObject({ index: decimal.optional(), leaf_hash: hex64.optional(), size: decimal.optional() })
  .refine(({ index, leaf_hash }) => (index === undefined) !== (leaf_hash === undefined), {
    message: 'either index or leaf_hash',
    path: ['index'],
  })

const pathSchema = z.array(hex64)
const inclusionSchema = z.strictObject({
  object: z.literal('log_inclusion'),
  index: z.int(),
  size: z.int(),
  leaf_hash: hex64,
  path: pathSchema,
})
const consistencySchema = z.strictObject({
  object: z.literal('log_consistency'),
  from: z.int(),
  to: z.int(),
  path: pathSchema,
})

const successionsSchema = z.strictObject({
  object: z.literal('log_successions'),
  data: z.array(z.strictObject({ note: z.string() })),
})

const hexOf = (path: readonly Buffer[]) => path.map((hash) => hash.toString('hex'))

/** A number out of the path of the request, where the router knows only text. */
function numberAt(params: Readonly<Record<string, string>>, name: string, max: number): number {
  const parsed = decimal.safeParse(params[name])
  if (parsed.success && parsed.data <= max) return parsed.data
  const message = `\`${name}\` is a whole number from 0 to ${max}.`
  throw new PoolError('invalid_request', message, 'See docs/reference/api.md.', { param: name })
}

/** Levels of tiles above the leaves: seven of 256 span 2^56. */
const levelMax = 6

/** The transparency log, open to everybody: what it holds can only be checked by those who may see it. */
export function logRoutes(log: LogReader, told: Pick<ToldEpochs, 'open'>): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/log/checkpoint',
      caller: 'anyone',
      summary: 'The newest checkpoint of the log: origin, size and root, signed by the pool (C2SP signed note).',
      handle: async () => new TextReply('text/plain; charset=utf-8', await log.checkpoint()),
    }),
    route({
      method: 'GET',
      path: '/v1/log/proof/inclusion',
      caller: 'anyone',
      summary: 'Proof that a leaf, by its index or its hash, is in the tree of the first `size` leaves (RFC 9162).',
      query: inclusionQuery,
      reply: inclusionSchema,
      handle: async ({ query: { index, leaf_hash = '', size } }): Promise<z.infer<typeof inclusionSchema>> => {
        const found = await log.findInclusion(index ?? Buffer.from(leaf_hash, 'hex'), size)
        const { leafHash, path } = found
        return {
          object: 'log_inclusion',
          index: found.index,
          size: found.size,
          leaf_hash: leafHash.toString('hex'),
          path: hexOf(path),
        }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/log/proof/consistency',
      caller: 'anyone',
      summary: 'Proof that the tree of the first `to` leaves begins with the one of the first `from` (RFC 9162).',
      query: z.strictObject({ from: decimal, to: decimal }),
      reply: consistencySchema,
      handle: async ({ query: { from, to } }): Promise<z.infer<typeof consistencySchema>> => ({
        object: 'log_consistency',
        from,
        to,
        path: hexOf(await log.consistency(from, to)),
      }),
    }),
    route({
      method: 'GET',
      path: '/v1/log/successions',
      caller: 'anyone',
      summary: 'Statements by which each key of this pool named the next one, oldest first (spec/federation.md).',
      reply: successionsSchema,
      handle: async (): Promise<z.infer<typeof successionsSchema>> => ({
        object: 'log_successions',
        data: (await log.successions()).map((note) => ({ note })),
      }),
    }),
    route({
      method: 'GET',
      path: '/v1/log/tile/:level/:index',
      caller: 'anyone',
      summary: 'Nodes of a tile, 32 bytes each: 256, or the first `width` (C2SP tlog-tiles).',
      query: z.strictObject({ width: decimal.refine((width) => width >= 1 && width <= 256, '1 to 256').optional() }),
      handle: async ({ params, query }) => {
        const level = numberAt(params, 'level', levelMax)
        const index = numberAt(params, 'index', 2 ** 45 - 1)
        return new TextReply('application/octet-stream', await log.tile(level, index, query.width))
      },
    }),
    route({
      method: 'GET',
      path: '/v1/log/epochs/:epoch',
      caller: 'anyone',
      summary: 'What the pool tells of an hour, 25 hours after it: its key, and what was decided about each answer.',
      handle: async ({ params }) =>
        new StreamReply('application/x-ndjson', await told.open(numberAt(params, 'epoch', 999_999_999))),
    }),
  ]
}
