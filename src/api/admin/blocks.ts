import { z } from 'zod'
import { type Blocked, type BlockRecord, encodeInvite, identityLimits, ownerNameSchema } from '#identity'
import type { PoolId } from '#protocol'
import type { ApiLimits } from '../limits.ts'
import { type Route, route } from '../route.ts'
import type { AdminDeps } from './admin-deps.ts'
import { pageOf, pageQuery, pageSchema, timeSchema, timeText } from './page.ts'

const because = z.string().trim().min(1).max(identityLimits.becauseCharsMax)
/** One of the three. */
const whom = {
  /** Id of a worker, or the first six digits or more. */
  worker: z.string().max(64).optional(),
  /** Name or id of an operator. */
  operator: z.string().max(identityLimits.nameCharsMax).optional(),
  /** An address or a network. */
  address: z.string().max(64).optional(),
}
const oneOf = (wish: { worker?: unknown; operator?: unknown; address?: unknown }) =>
  [wish.worker, wish.operator, wish.address].filter((one) => one !== undefined).length === 1
const sayOne = { message: 'Name a worker, an operator or an address, one of them.' }
const blockSchema = z.strictObject({ ...whom, because }).refine(oneOf, sayOne)
const unblockSchema = z.strictObject(whom).refine(oneOf, sayOne)

const blockRowSchema = z.strictObject({
  object: z.literal('block'),
  id: z.string(),
  kind: z.enum(['worker', 'operator', 'address']),
  /** Id of the worker, name of the operator, or the network. */
  subject: z.string(),
  because: z.string().nullable(),
  at: timeSchema,
})
const doneSchema = z.strictObject({ object: z.literal('blocked'), blocked: z.boolean() })

const rotateSchema = z.strictObject({
  /** Only this one's workers. */
  operator: ownerNameSchema.optional(),
  because,
  /** Keys that joined later stay good; now when absent. Given again with each further step. */
  joined_before: timeSchema.optional(),
})
const rotationSchema = z.strictObject({
  object: z.literal('rotation'),
  joined_before: timeSchema,
  data: z.array(
    z.strictObject({
      /** Whose key was revoked. */
      worker: z.string(),
      operator: z.string(),
      /** For its new key; null for a worker or an operator that is blocked. */
      invite: z.string().nullable(),
    }),
  ),
  /** Ask again with `joined_before`. */
  more: z.boolean(),
})

function meant({ worker, operator, address }: z.infer<typeof unblockSchema>): Blocked {
  if (worker !== undefined) return { worker }
  return operator !== undefined ? { operator } : { address: address ?? '' }
}

/** As events name it: kind and what was written. */
function nameOf(blocked: Blocked): { subject: string; kind: string } {
  const [[kind = '', subject = '']] = Object.entries(blocked) as [[string, string]]
  return { kind, subject: subject.slice(0, 200) }
}

const toRow = ({ at, ...block }: BlockRecord): z.infer<typeof blockRowSchema> => ({
  object: 'block',
  ...block,
  at: timeText(at),
})

type Needs = Pick<AdminDeps, 'identity' | 'journal' | 'inviteUrl' | 'ownOperator'>

/** Who may not lend at all, and the rotation of all keys after an incident. */
export function blockRoutes(
  { identity, journal, inviteUrl, ownOperator }: Needs,
  poolId: PoolId,
  now: () => number,
  limits: ApiLimits,
): Route[] {
  const inviteOf = (token: Buffer) => encodeInvite({ url: inviteUrl(), poolId, token })
  return [
    route({
      method: 'GET',
      path: '/v1/admin/blocks',
      caller: 'auditor',
      summary: 'Workers, operators and addresses that may not lend, oldest first.',
      query: pageQuery(limits, z.guid()),
      reply: pageSchema(blockRowSchema),
      handle: ({ query }) => pageOf(query, (page) => identity.listBlocks(page), toRow),
    }),
    route({
      method: 'POST',
      path: '/v1/admin/blocks',
      caller: 'admin',
      summary: 'Block a worker, an operator or an address: sessions end within a second, and the door is closed.',
      body: blockSchema,
      reply: doneSchema,
      handle: async ({ body, actor }) => {
        const blocked = meant(body)
        await identity.block(blocked, body.because, actor)
        const { kind, subject } = nameOf(blocked)
        journal.add('worker_blocked', subject, { kind, because: body.because })
        return { object: 'blocked', blocked: true }
      },
    }),
    route({
      method: 'POST',
      path: '/v1/admin/blocks/lift',
      caller: 'admin',
      summary: 'Lift a block. What was revoked stays revoked until it is renewed.',
      body: unblockSchema,
      reply: doneSchema,
      handle: async ({ body, actor }) => {
        const blocked = meant(body)
        await identity.unblock(blocked, actor)
        const { kind, subject } = nameOf(blocked)
        journal.add('worker_unblocked', subject, { kind })
        return { object: 'blocked', blocked: false }
      },
    }),
    route({
      method: 'POST',
      path: '/v1/admin/workers/rotate',
      caller: 'admin',
      summary: 'After an incident: revoke the keys of all workers (or of one operator) and invite each again.',
      body: rotateSchema,
      reply: rotationSchema,
      handle: async ({ body, actor }) => {
        const joinedBefore = body.joined_before === undefined ? now() : Date.parse(body.joined_before)
        const { operator } = body
        const wish = { operator, joinedBefore, because: body.because, by: actor }
        const step = await identity.rotateWorkers({ ...wish, except: operator === ownOperator ? [] : [ownOperator] })
        const { rotated, more } = step
        const about = { workers: rotated.length, because: body.because }
        if (rotated.length > 0) journal.add('workers_rotated', operator ?? 'all operators', about)
        const data = rotated.map(({ worker, operator: of, token }) => {
          return { worker, operator: of, invite: token ? inviteOf(token) : null }
        })
        return { object: 'rotation', joined_before: timeText(joinedBefore), data, more }
      },
    }),
  ]
}
