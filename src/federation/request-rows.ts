import { type PoolId, parsePoolId } from '#protocol'
import type { Sql } from '#storage'
import type { AdminAction, AdminSignature, RequestState } from './admin-request.ts'

export type Direction = 'in' | 'out'

/** A request as it stands in the table. Times are milliseconds since 1970. */
export interface RequestRow {
  readonly direction: Direction
  readonly requestId: string
  /** Who asked, or who was asked. */
  readonly peerId: PoolId
  readonly action: AdminAction
  readonly params: Readonly<Record<string, unknown>>
  readonly email: string | null
  readonly envelope: 1 | 2 | null
  readonly requestSignatures: readonly AdminSignature[]
  readonly decisionSignatures: readonly AdminSignature[]
  readonly state: RequestState
  readonly createdAt: number
  readonly expiresAt: number
  readonly decidedAt: number | null
  readonly decidedBy: string | null
  readonly endedAt: number | null
  readonly guard: object | null
  readonly result: object | null
  readonly error: string | null
  readonly callbackTries: number
  readonly callbackDueAt: number | null
  readonly calledBackAt: number | null
}

const columns = (sql: Sql) => sql`
  direction, request_id as "requestId", peer_id as "peerId", action, params, email, envelope,
  request_signatures as "requestSignatures", decision_signatures as "decisionSignatures", state,
  created_at as "createdAt", expires_at as "expiresAt", decided_at as "decidedAt", decided_by as "decidedBy",
  ended_at as "endedAt", guard, result, error, callback_tries as "callbackTries",
  callback_due_at as "callbackDueAt", called_back_at as "calledBackAt"`

export type NewRequest = Pick<
  RequestRow,
  | 'direction'
  | 'requestId'
  | 'peerId'
  | 'action'
  | 'params'
  | 'email'
  | 'envelope'
  | 'requestSignatures'
  | 'createdAt'
  | 'expiresAt'
>

/** Writes a pending request; undefined where its id is taken. */
export async function insertRequest(sql: Sql, request: NewRequest): Promise<RequestRow | undefined> {
  const { direction, requestId, peerId, action, params, email, envelope, requestSignatures, createdAt, expiresAt } =
    request
  const [row] = await sql<RequestRow[]>`
    insert into admin_requests (direction, request_id, peer_id, action, params, email, envelope, request_signatures, state,
                                created_at, expires_at)
    values (${direction}, ${requestId}, ${peerId}, ${action}, ${JSON.stringify(params)}::text::jsonb, ${email}, ${envelope},
            ${JSON.stringify(requestSignatures)}::text::jsonb, 'pending', ${createdAt}::timestamptz, ${expiresAt}::timestamptz)
    on conflict do nothing returning ${columns(sql)}`
  return row
}

/** One request; `lock` keeps it as it is until the transaction ends. */
export async function findRequest(
  sql: Sql,
  direction: Direction,
  requestId: string,
  lock = false,
): Promise<RequestRow | undefined> {
  const [row] = await sql<RequestRow[]>`
    select ${columns(sql)} from admin_requests where direction = ${direction} and request_id = ${requestId}
    ${lock ? sql`for update` : sql``}`
  return row
}

interface Moved {
  readonly at: number
  readonly by?: string
  readonly error?: string
  readonly result?: object
  readonly guard?: object
  /** When the callback is due; absent: none is. */
  readonly callbackDueAt?: number
}

/** The one way from a state to another: whoever comes second finds it gone, and gets undefined. */
export async function moveRequest(
  sql: Sql,
  { direction, requestId }: Pick<RequestRow, 'direction' | 'requestId'>,
  from: RequestState,
  to: RequestState,
  { at, by, error, result, guard, callbackDueAt }: Moved,
): Promise<RequestRow | undefined> {
  const json = (value: object | undefined) => (value === undefined ? null : JSON.stringify(value))
  const decided = from === 'pending' && to !== 'expired'
  const [row] = await sql<RequestRow[]>`
    update admin_requests set state = ${to},
           decided_at = case when ${decided} then ${at}::timestamptz else decided_at end,
           decided_by = coalesce(${by ?? null}::text, decided_by),
           approved_at = case when ${to === 'approved'} then ${at}::timestamptz else approved_at end,
           ended_at = case when ${to === 'approved'} then ended_at else ${at}::timestamptz end,
           error = coalesce(${error?.slice(0, 500) ?? null}::text, error),
           result = coalesce(${json(result)}::text::jsonb, result),
           guard = coalesce(${json(guard)}::text::jsonb, guard),
           callback_due_at = coalesce(${callbackDueAt ?? null}::timestamptz, callback_due_at)
     where direction = ${direction} and request_id = ${requestId} and state = ${from}
     returning ${columns(sql)}`
  return row
}

/** Newest first; the next page begins `after` the last id of this one. */
export async function listRequests(
  sql: Sql,
  direction: Direction,
  { after, limit, pending = false }: { readonly after?: string; readonly limit: number; readonly pending?: boolean },
): Promise<RequestRow[]> {
  const rows = await sql<RequestRow[]>`
    select ${columns(sql)} from admin_requests r
     where direction = ${direction} and (not ${pending} or state = 'pending')
       and (${after ?? null}::text is null or (created_at, request_id) <
            (select created_at, request_id from admin_requests where direction = ${direction} and request_id = ${after ?? null}))
     order by created_at desc, request_id desc limit ${limit}`
  return [...rows]
}

/** What nobody decided in time. Returns how many. */
export async function expireRequests(sql: Sql, now: number, graceMs: number): Promise<number> {
  const rows = await sql`
    update admin_requests set state = 'expired', ended_at = ${now}::timestamptz
     where state = 'pending'
       and expires_at + (case direction when 'out' then ${graceMs}::float8 else 0 end) * interval '1 millisecond' <= ${now}::timestamptz
     returning request_id`
  return rows.length
}

/** Takes callbacks that are due, so that no other process sends them meanwhile; the next try is set before this one begins. */
export async function takeDueCallbacks(
  sql: Sql,
  {
    now,
    pauseMin,
    pauseMax,
    limit,
    requestId,
  }: { now: number; pauseMin: number; pauseMax: number; limit: number; requestId?: string },
): Promise<RequestRow[]> {
  const rows = await sql<RequestRow[]>`
    update admin_requests set callback_tries = callback_tries + 1,
           callback_due_at = ${now}::timestamptz
             + least(${pauseMax}::float8, ${pauseMin}::float8 * power(2, least(callback_tries, 30))) * interval '1 millisecond'
     where (direction, request_id) in (
       select direction, request_id from admin_requests
        where callback_due_at <= ${now}::timestamptz and (${requestId ?? null}::text is null or request_id = ${requestId ?? null})
        order by callback_due_at limit ${limit} for update skip locked)
     returning ${columns(sql)}`
  return [...rows]
}

/** A callback has landed, or the other side does not want it: nothing is due any more, and what was called back is forgotten. */
export async function callbackEnded(sql: Sql, requestId: string, now: number, landed: boolean): Promise<void> {
  await sql`
    update admin_requests set callback_due_at = null, result = null,
           called_back_at = case when ${landed} then ${now}::timestamptz else called_back_at end
     where direction = 'in' and request_id = ${requestId}`
}

/** A pool that is known here, locked until the transaction ends: whoever changes its trust waits. */
export async function lockPeer(
  tx: Sql,
  peerId: PoolId,
): Promise<{ readonly trust: number; readonly revoked: boolean } | undefined> {
  const [row] = await tx<{ trust: number; revoked: boolean }[]>`
    select trust, revoked_at is not null as revoked from peers where id = ${peerId} for update`
  return row
}

/** When the last reset between us and a pool was approved, by us (`in`) or by it (`out`). */
export async function lastResetAt(sql: Sql, direction: Direction, peerId: PoolId): Promise<number | undefined> {
  const [row] = await sql<{ at: number | null }[]>`
    select max(coalesce(approved_at, ended_at)) as at from admin_requests
     where direction = ${direction} and peer_id = ${peerId} and action = 'circuit_reset'
       and state in ('approved', 'executed', 'executed_no_callback')`
  return row?.at ?? undefined
}

export async function countPending(sql: Sql, peerId: PoolId, now: number): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::int as count from admin_requests
     where direction = 'in' and peer_id = ${peerId} and state = 'pending' and expires_at > ${now}::timestamptz`
  return row?.count ?? 0
}

/** Of a pool id or its first digits, the one known pool. */
export async function findPeer(sql: Sql, idOrPrefix: string): Promise<PoolId | undefined> {
  if (!/^[0-9a-f]{6,64}$/.test(idOrPrefix)) return undefined
  const rows = await sql<{ id: string }[]>`
    select id from peers where id >= ${idOrPrefix} and id <= ${idOrPrefix.padEnd(64, 'f')} order by id limit 2`
  const [peer] = rows
  return rows.length === 1 && peer ? parsePoolId(peer.id) : undefined
}
