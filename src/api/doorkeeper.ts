import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { type Actor, mayActAs, type Role } from '#identity'
import { minuteUsedUp } from '#ledger'
import { PoolError, type Refusal } from '#protocol'
import { requireBearer } from './bearer.ts'
import type { OriginHeaders } from './browser-origins.ts'
import type { ApiDeps, Client } from './deps.ts'
import type { ApiLimits } from './limits.ts'
import { Linger } from './linger.ts'
import { RequestRate, type Turn } from './request-rate.ts'
import type { Caller } from './route.ts'
import { toRefusal } from './to-refusal.ts'
import { writeRefusal } from './write-reply.ts'

/** What is noted of a request when it enters. */
interface Entry {
  /** Monotonic milliseconds. */
  readonly since: number
  /** Headers of every response to it: name, value, name, value. */
  headers: readonly string[]
  client: Client | undefined
  /** Of a key that may send so many requests a minute, on a route that counts them. */
  turn: Turn | undefined
  /** The owner's key was brought. */
  owner: boolean
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Noted by the {@link Doorkeeper}; null until its hook has run. */
    entry: Entry | null
  }
}

type Hook = (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) => void
type Refuse = (request: FastifyRequest, reply: FastifyReply) => void
type Needs = Pick<ApiDeps, 'runtime' | 'authenticate' | 'isOwner' | 'log' | 'ended'>

const clientKeyFix = 'Send `Authorization: Bearer KEY`; `lichen keys create NAME` makes one.'
const ownersKey: Actor = { actor: 'owner.key', role: 'owner', userId: null }
const nobody: Actor = { actor: 'anyone', role: 'user', userId: null }

/** What lets in where a role is needed. */
const keyFixFor = (least: Role) =>
  `Send the content of \`owner.key\` in the pool's data folder, or an API key with the role ${least}, as bearer.`

/** Who may come in, how often, and what is said to those who may not. Decides before a body is read. */
export class Doorkeeper {
  readonly #deps: Needs
  readonly #rate: RequestRate
  readonly #originHeaders: OriginHeaders
  readonly #linger: Linger

  constructor(deps: Needs, limits: ApiLimits, headersFor: OriginHeaders) {
    this.#deps = deps
    this.#originHeaders = headersFor
    this.#linger = new Linger(deps.runtime)
    this.#rate = new RequestRate(deps.runtime, limits)
  }

  /** The check in front of a route. `counted`: the request uses up the key's requests per minute. */
  hookFor(caller: Caller, counted = false): Hook {
    if (caller === 'client') return (request, reply, done) => this.#admitClient(request, reply, counted, done)
    if (caller !== 'anyone') return (request, _reply, done) => this.#admitRole(request, caller, done)
    return (request, _reply, done) => {
      this.#note(request)
      done()
    }
  }

  /** What was noted of a request. */
  entryOf(request: FastifyRequest): Entry {
    return request.entry ?? this.#note(request)
  }

  /** A door that never opens, and says why. `headers`: name, value, name, value. */
  closed(error: PoolError, headers: readonly string[]): { onRequest: Refuse; handler: Refuse } {
    const refuse: Refuse = (request, reply) => this.refuse(error, request, reply, 'other', headers)
    return { onRequest: refuse, handler: refuse }
  }

  /** The response is a refusal; an error we did not expect goes to the log. */
  refuse(
    error: unknown,
    request: FastifyRequest,
    reply: FastifyReply,
    route: string,
    more: readonly string[] = [],
  ): void {
    reply.hijack()
    const { refusal, unexpected } = toRefusal(error)
    request.entry?.turn?.notTaken()
    // A client that went away while it was sending made no mistake of ours.
    const left = reply.raw.destroyed && (error as NodeJS.ErrnoException).code === 'ECONNRESET'
    if (unexpected && !left) this.#deps.log.error({ err: error, request_id: request.id, route }, 'a request failed')
    if (reply.raw.destroyed || reply.raw.headersSent) return
    const { since, headers, turn } = this.entryOf(request)
    const ends = refusal.code === 'body_too_large' ? this.endUnread(reply) : []
    const rate = turn?.headers() ?? []
    const said = turn?.notBefore(refusal) ?? refusal
    const status = writeRefusal(reply.raw, said, [...headers, ...rate, ...more, ...ends])
    this.#deps.ended(route, status, this.#deps.runtime.monotonic() - since)
  }

  /** Headers of an answer to a request whose body is not read, and after which the connection ends. */
  endUnread(reply: FastifyReply): readonly string[] {
    this.#linger.behind(reply.raw)
    return ['connection', 'close']
  }

  #note(request: FastifyRequest): Entry {
    const { origin } = request.headers
    const headers = ['x-request-id', request.id, ...this.#originHeaders({ url: request.url, origin })]
    const entry: Entry = {
      since: this.#deps.runtime.monotonic(),
      headers,
      client: undefined,
      turn: undefined,
      owner: false,
    }
    request.entry = entry
    return entry
  }

  /** The owner's key may everything; an API key what its role may. */
  #admitRole(request: FastifyRequest, least: Role, done: HookHandlerDoneFunction): void {
    const entry = this.#note(request)
    const key = requireBearer(request.headers, keyFixFor(least))
    entry.owner = !(key instanceof PoolError) && this.#deps.isOwner(key)
    const known = key instanceof PoolError ? key.refusal : entry.owner ? true : this.#deps.authenticate(key)
    if (known instanceof Promise) known.then((client) => done(whyNotRole(entry, client, least)), done)
    else done(known === true ? undefined : whyNotRole(entry, known, least))
  }

  #admitClient(request: FastifyRequest, { raw }: FastifyReply, counted: boolean, done: HookHandlerDoneFunction): void {
    const entry = this.#note(request)
    const key = requireBearer(request.headers, clientKeyFix)
    const known = key instanceof PoolError ? key.refusal : this.#deps.authenticate(key)
    if (known instanceof Promise) {
      // a body that nobody sends any more never ends: what was taken from the key for it would not be given back
      known.then((client) => done(raw.destroyed ? whoLeft() : this.#whyNotClient(entry, client, counted)), done)
    } else done(this.#whyNotClient(entry, known, counted))
  }

  #whyNotClient(entry: Entry, client: Client | Refusal, counted: boolean): PoolError | undefined {
    if ('code' in client) return PoolError.from(client)
    entry.client = client
    if (counted && client.tokensPerMinute !== null) {
      entry.headers = [...entry.headers, 'x-ratelimit-limit-tokens', String(client.tokensPerMinute)]
    }
    return counted && client.requestsPerMinute !== null
      ? this.#count(entry, client, client.requestsPerMinute)
      : undefined
  }

  #count(entry: Entry, client: Client, perMinute: number): PoolError | undefined {
    const turn = this.#rate.enter(client.id, perMinute)
    entry.turn = turn
    return turn.isLetIn ? undefined : PoolError.from(minuteUsedUp(turn.resetMs))
  }
}

/** For the log of nobody: there is no one left to read it. */
const whoLeft = () => new PoolError('request_timeout', 'The client left.', 'Ask again.')

/** Who acts. */
export function actorOf({ client, owner }: Entry): Actor {
  if (owner) return ownersKey
  return client ? { actor: `key:${client.id}`, role: client.role, userId: client.userId } : nobody
}

function whyNotRole(entry: Entry, client: Client | Refusal, least: Role): PoolError | undefined {
  if ('code' in client) {
    return PoolError.from(client.code === 'invalid_api_key' ? { ...client, fix: keyFixFor(least) } : client)
  }
  entry.client = client
  if (mayActAs(client.role, least)) return undefined
  const message = `This route needs the role ${least}; this key counts as ${client.role}.`
  return new PoolError('role_required', message, keyFixFor(least))
}
