import { z } from 'zod'
import { sha256 } from '#crypto'
import {
  type Added,
  adminSignatureSchema,
  type Comparison,
  type PeerDetails,
  type PeerOffice,
  type PeerView,
  type SignedAcceptance,
  type SignedStatement,
  statementToWire,
} from '#federation'
import { hex64 } from '#protocol'
import type { ApiLimits } from '../limits.ts'
import { type Route, route } from '../route.ts'
import { pageOf, pageQuery, pageSchema, timeOrNull, timeSchema, timeText } from './page.ts'

/** What those who run the pool do with other pools. */
export interface FederationAdmin
  extends Pick<
    PeerOffice,
    'bundle' | 'list' | 'show' | 'add' | 'promote' | 'demote' | 'revoke' | 'allowV1' | 'confirm' | 'ping'
  > {
  readonly mode: string
  readonly name: string
  readonly url: string
  readonly publicKey: Buffer
  /** Whether the kill switch is on now. */
  readonly killed: () => Promise<boolean>
  /** What both pools have signed about the work of so many days. */
  readonly statement: (id: string, days: number) => Promise<ComparedStatements>
}

interface ComparedStatements extends Comparison {
  readonly ours: SignedStatement
  readonly theirs: SignedStatement
}

const countsSchema = z.strictObject({ successes: z.int(), failures: z.int(), mismatches: z.int() })

const peerSchema = z.strictObject({
  object: z.literal('peer'),
  /** sha256 of its public key. */
  id: z.string(),
  name: z.string(),
  url: z.string(),
  public_key: z.string(),
  /** 0 revoked, 1 known, 2 trusted with jobs, 3 bonded, 4 settlement. */
  trust: z.int(),
  revoked: z.boolean(),
  /** Version of the envelope it is called in. */
  version: z.int(),
  /** What this pool has accepted in writing, and the other: 0, 3 or 4. Null where version 1 cannot say it. */
  our_level: z.int(),
  their_level: z.int().nullable(),
  met_at: timeSchema,
  reachable: z.boolean(),
  seen_at: timeSchema.nullable(),
  took_ms: z.number().nullable(),
  problem: z.string().nullable(),
  models: z.array(z.string()),
  record: countsSchema.extend({
    lately: countsSchema,
    last_why: z.string(),
  }),
})
type Row = z.infer<typeof peerSchema>

const none = { successes: 0, failures: 0, mismatches: 0 }

function toRow({ peer, health, reachable, record }: PeerView): Row {
  const { successes, failures, mismatches, lately, lastWhy } = record ?? { ...none, lately: none, lastWhy: '' }
  return {
    object: 'peer',
    id: peer.id,
    name: peer.name,
    url: peer.url,
    public_key: peer.key.raw.toString('base64url'),
    trust: peer.trust,
    revoked: peer.revoked,
    version: peer.version,
    our_level: peer.ourLevel,
    their_level: peer.version === 2 ? peer.theirLevel : null,
    met_at: timeText(peer.metAt),
    reachable,
    seen_at: timeOrNull(health.seenAt),
    took_ms: health.tookMs,
    problem: health.problem,
    models: peer.capabilities.flatMap((one) => ('model' in one && typeof one.model === 'string' ? [one.model] : [])),
    record: { successes, failures, mismatches, lately: { ...lately }, last_why: lastWhy },
  }
}

/** As an admin has signed it; a third party can check it with spec/federation.md. */
const acceptanceSchema = adminSignatureSchema.extend({ level: z.int() }).strict()
const detailsSchema = peerSchema.extend({
  bond: z.strictObject({
    ours: acceptanceSchema.nullable(),
    theirs: acceptanceSchema.nullable(),
    /** Why it is not whole, as the last exchange of acceptances has shown; `by`: who would not take the other's. */
    problems: z.array(
      z.strictObject({
        by: z.enum(['us', 'them']),
        why: z.enum(['unknown_admin', 'signature', 'from_the_future']),
        key_id: z.string(),
        /** The same in a sentence, with what to do about it. */
        text: z.string(),
      }),
    ),
  }),
})
type Details = z.infer<typeof detailsSchema>

function toDetails({ ours, theirs, ...view }: PeerDetails): Details {
  const signed = (one: SignedAcceptance | undefined) =>
    one ? { level: one.level, key_id: one.key_id, signed_at: one.signed_at, signature: one.signature } : null
  const problems = view.bondProblems.map(({ by, why, keyId, text }) => ({ by, why, key_id: keyId, text }))
  return { ...toRow(view), bond: { ours: signed(ours), theirs: signed(theirs), problems } }
}

const addedSchema = detailsSchema.extend({ told: z.boolean() })
const promotedSchema = detailsSchema.extend({ awaiting: z.boolean() })
const nothing = z.strictObject({})
const amount = z.string().regex(/^\d+$/, 'a whole number of micro-credits, in decimal')
const signedSchema = z.strictObject({
  since: z.int(),
  until: z.int(),
  lent: z.array(z.array(z.string())),
  borrowed: z.array(z.array(z.string())),
  signature: z.string(),
})
const statementReply = z.strictObject({
  object: z.literal('peer_statement'),
  since: timeSchema,
  until: timeSchema,
  /** Micro-credits that both agree on. */
  owed_to_us: amount,
  owed_to_them: amount,
  /** Jobs both agree on. */
  jobs: z.int(),
  /** `by`: who computed it; null: that side does not know the job. */
  differences: z.array(
    z.strictObject({ id: z.string(), by: z.enum(['us', 'them']), ours: amount.nullable(), theirs: amount.nullable() }),
  ),
  /** As signed, to be kept. */
  ours: signedSchema,
  theirs: signedSchema,
})

function toStatement({ ours, theirs, owedToUs, owedToThem, jobs, differences }: ComparedStatements) {
  const text = (micro: bigint | null) => (micro === null ? null : micro.toString())
  return {
    object: 'peer_statement' as const,
    since: timeText(ours.since * 1_000),
    until: timeText(ours.until * 1_000),
    owed_to_us: owedToUs.toString(),
    owed_to_them: owedToThem.toString(),
    jobs,
    differences: differences.map(({ id, by, ...both }) => ({
      id,
      by,
      ours: text(both.ours),
      theirs: text(both.theirs),
    })),
    ours: statementToWire(ours),
    theirs: statementToWire(theirs),
  }
}

function toAdded({ view, problem }: Added): z.infer<typeof addedSchema> {
  const row = toDetails(view)
  return { ...row, problem: problem ?? row.problem, told: problem === null }
}

/** Other pools: who they are, and what humans here let them do. */
export function federationAdminRoutes(federation: FederationAdmin, limits: ApiLimits): Route[] {
  const base = '/v1/admin/federation'
  const act = <B extends z.ZodType, R extends z.ZodType>(
    name: string,
    summary: string,
    body: B,
    reply: R,
    handle: (id: string, body: z.infer<B>, actor: string) => Promise<z.infer<R>>,
  ) =>
    route({
      method: 'POST',
      path: `${base}/peers/:id/${name}`,
      caller: 'admin',
      summary,
      body,
      reply,
      handle: ({ params, body: wish, actor }) => handle(params.id ?? '', wish as z.infer<B>, actor),
    })
  return [
    route({
      method: 'GET',
      path: base,
      caller: 'auditor',
      summary: 'This pool as other pools see it, and the line to hand over in person.',
      reply: z.strictObject({
        object: z.literal('federation'),
        /** sha256 of the public key. */
        id: z.string(),
        mode: z.string(),
        killed: z.boolean(),
        name: z.string(),
        url: z.string(),
        public_key: z.string(),
        bundle: z.string(),
      }),
      handle: async () => ({
        object: 'federation',
        id: sha256(federation.publicKey).toString('hex'),
        mode: federation.mode,
        killed: await federation.killed(),
        name: federation.name,
        url: federation.url,
        public_key: federation.publicKey.toString('base64url'),
        bundle: federation.bundle,
      }),
    }),
    route({
      method: 'GET',
      path: `${base}/peers`,
      caller: 'auditor',
      summary: 'Pools that are known here, by id, revoked ones included.',
      query: pageQuery(limits, hex64),
      reply: pageSchema(peerSchema),
      handle: ({ query }) => pageOf(query, (page) => pageOfPeers(federation, page), toRow),
    }),
    route({
      method: 'GET',
      path: `${base}/peers/:id`,
      caller: 'auditor',
      summary: 'One pool. The first six digits of an id are enough.',
      reply: detailsSchema,
      handle: async ({ params }) => toDetails(await federation.show(params.id ?? '')),
    }),
    route({
      method: 'POST',
      path: `${base}/peers`,
      caller: 'admin',
      summary: 'Meet the pool at a URL, or the one of a bundle that was handed over.',
      body: z.strictObject({ where: z.string().min(1).max(1_024), id: z.string().nullish() }),
      reply: addedSchema,
      status: 201,
      handle: async ({ body: { where, id } }) => toAdded(await federation.add(where, id ?? undefined)),
    }),
    act(
      'promote',
      'Trust it more: 2 jobs, 3 bonded, 4 settlement. From 3 on admins of both pools must sign, where it speaks version 2.',
      z.strictObject({ level: z.int().min(2).max(4), signature: adminSignatureSchema.nullish() }),
      promotedSchema,
      async (id, { level, signature }, actor) => {
        const { view, awaiting } = await federation.promote(id, level, actor, signature ?? undefined)
        return { ...toDetails(view), awaiting }
      },
    ),
    act(
      'demote',
      'Trust it less.',
      z.strictObject({ level: z.int().min(1).max(3) }),
      detailsSchema,
      async (id, body, actor) => toDetails(await federation.demote(id, body.level, actor)),
    ),
    act(
      'revoke',
      'Cut it off for good: what runs with it ends within a second.',
      nothing,
      detailsSchema,
      async (id, _, actor) => toDetails(await federation.revoke(id, actor)),
    ),
    act(
      'confirm',
      'Say that the key it has named, by its whole id, stands in its place. A bond goes on with an admin’s signature.',
      z.strictObject({
        successor: hex64,
        /** An admin's acceptance of the successor, on the level that is accepted now. */
        signature: adminSignatureSchema.nullish(),
      }),
      detailsSchema,
      async (id, { successor, signature }, actor) =>
        toDetails(await federation.confirm(id, successor, actor, signature ?? undefined)),
    ),
    act(
      'allow-v1',
      'Hear it in version 1 again, after it has spoken version 2.',
      nothing,
      detailsSchema,
      async (id, _, actor) => toDetails(await federation.allowV1(id, actor)),
    ),
    act(
      'statement',
      'Exchange signed statements of the work of some days, and compare them job by job.',
      z.strictObject({ days: z.int().min(1).max(400).default(30) }),
      statementReply,
      async (id, { days }) => toStatement(await federation.statement(id, days)),
    ),
    act(
      'ping',
      'Ask it to sign fresh bytes.',
      nothing,
      z.strictObject({ ok: z.boolean(), took_ms: z.number(), version: z.int(), problem: z.string().nullable() }),
      async (id) => {
        const { ok, tookMs, version, problem } = await federation.ping(id)
        return { ok, took_ms: tookMs, version, problem }
      },
    ),
  ]
}

async function pageOfPeers(federation: FederationAdmin, { after = '', limit }: { after?: string; limit: number }) {
  return (await federation.list()).filter(({ peer }) => peer.id > after).slice(0, limit)
}
