import { PoolError } from '#protocol'
import { adminDoor } from './admin-door.ts'
import type { AdminRequestOptions } from './admin-ports.ts'
import { adminCallbackPath, adminRequestPath } from './admin-request.ts'
import { askPeer, callbackDoor, type Wish } from './ask-peer.ts'
import { Callbacks } from './callbacks.ts'
import { type Decided, decideRequest, type HumanDecision } from './decide-request.ts'
import { type Direction, findRequest, listRequests, type RequestRow } from './request-rows.ts'
import type { SignedRoute } from './signed-route.ts'

/** What pools ask of each other's humans: the doors, the box of what came, the box of what went, and the decision. */
export class AdminRequests implements AsyncDisposable {
  readonly #o: AdminRequestOptions
  readonly #callbacks: Callbacks
  readonly #stopping = new AbortController()
  /** The doors, by path. */
  readonly routes: Readonly<Record<string, SignedRoute>>

  constructor(options: AdminRequestOptions) {
    this.#o = options
    this.#callbacks = new Callbacks(options)
    this.routes = { [adminRequestPath]: adminDoor(options), [adminCallbackPath]: callbackDoor(options) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort()
    await this.#callbacks[Symbol.asyncDispose]()
  }

  /** @throws PoolError not_found, conflict, toggle_off, slashing_pending, reciprocal, admin_signature_required. */
  async decide(requestId: string, decision: HumanDecision): Promise<Decided> {
    const decided = await decideRequest(this.#o, requestId, decision)
    if (decided.waiting) return decided
    const { row } = decided
    this.#o.onEvent({ request: requestId, peer: row.peerId, action: row.action, what: row.state })
    await this.#callbacks.tryNow(requestId)
    return { row: await this.show(requestId, 'in'), waiting: undefined }
  }

  /** @throws PoolError not_found, conflict, invalid_request, admin_signature_required. */
  ask(wish: Wish): Promise<RequestRow> {
    return askPeer(this.#o, wish, this.#stopping.signal)
  }

  list(
    direction: Direction,
    page: { readonly after?: string; readonly limit: number; readonly pending?: boolean },
  ): Promise<RequestRow[]> {
    return listRequests(this.#o.database.sql, direction, page)
  }

  /** `direction` where one id stands in both boxes: a pool that asks itself is no pool. @throws PoolError not_found. */
  async show(requestId: string, direction?: Direction): Promise<RequestRow> {
    const { sql } = this.#o.database
    const boxes: readonly Direction[] = direction ? [direction] : ['in', 'out']
    for (const box of boxes) {
      const row = await findRequest(sql, box, requestId)
      if (row) return row
    }
    throw new PoolError(
      'not_found',
      `There is no request ${requestId}.`,
      'See `lichen fed inbox` and `lichen fed outbox`.',
    )
  }

  /** Callbacks that are due, now. */
  sweep(): Promise<void> {
    return this.#callbacks.sweep()
  }
}
