import type { IncomingHttpHeaders } from 'node:http'
import type { z } from 'zod'
import type { RawHead, RawRequest } from '#federation'
import type { Actor, Role } from '#identity'
import type { Client } from './deps.ts'

/** Who may come: anyone, a client with an API key, or somebody with at least this role. */
export type Caller = 'anyone' | 'client' | Role

export type Method = 'GET' | 'POST' | 'DELETE'

/** What a door says about itself: kept with the handler, read by the server, `/openapi.json` and the docs' test. */
export interface Notice {
  readonly method: Method
  /** As the router reads it: `/v1/admin/keys/:id`; a last `*` takes the rest. */
  readonly path: string
  readonly caller: Caller
  /** One line. */
  readonly summary: string
  /** What they bring, and what they get. */
  readonly query?: z.ZodType
  readonly body?: z.ZodType
  readonly reply?: z.ZodType
  /** Bytes of the body; administration's limit when absent. */
  readonly bodyBytesMax?: number
  /** The body is a form of our own page (`application/x-www-form-urlencoded`); the handler reads its bytes. */
  readonly form?: true
  /** 200 unless something is made. */
  readonly status?: 200 | 201
}

/** Where a request came from, as its connection and a proxy say. */
export interface Origin {
  readonly remoteAddress: string | undefined
  readonly forwardedFor: string | undefined
}

/** A request whose body has not been read. */
export interface Knock extends Origin {
  readonly head: RawHead
  /** As many as are said to come; 0 where nothing is said. */
  readonly bodyBytes: number
}

/** What a handler is given: parsed, and from somebody who may. */
export interface Visit<Query = unknown, Body = unknown> {
  readonly params: Readonly<Record<string, string>>
  readonly query: Query
  readonly body: Body
  readonly headers: IncomingHttpHeaders
  /** Names of models the caller's key is limited to; `undefined`: all. */
  readonly models: readonly string[] | undefined
  /** Whose API key was brought; always there on routes for clients. */
  readonly client: Client | undefined
  /** Who acts; nobody in particular where anyone may come. */
  readonly by: Actor
  /** The request as it came, for those who verify a signature over its bytes. */
  readonly raw: Origin & { readonly request: RawRequest }
  /** `by.actor`, for acts: `owner.key` or `key:<id>`. */
  readonly actor: string
}

/** A reply that is not JSON: text, or bytes. */
export class TextReply {
  readonly contentType: string
  readonly text: string | Buffer
  readonly status: number
  readonly headers: readonly string[]

  constructor(contentType: string, text: string | Buffer, status = 200, headers: readonly string[] = []) {
    this.contentType = contentType
    this.text = text
    this.status = status
    this.headers = headers
  }
}

/** A reply that is made while it is sent. What breaks it cuts the connection: no reader takes a part for the whole. */
export class StreamReply {
  readonly contentType: string
  readonly pieces: AsyncGenerator<string | Buffer>
  readonly headers: readonly string[]
  readonly status: number
  /** The reader is gone, although the next piece is not there yet. */
  readonly abandon: (() => void) | undefined

  constructor(
    contentType: string,
    pieces: AsyncGenerator<string | Buffer>,
    headers: readonly string[] = [],
    abandon?: () => void,
    status = 200,
  ) {
    this.status = status
    this.contentType = contentType
    this.pieces = pieces
    this.headers = headers
    this.abandon = abandon
  }
}

/** A door whose answer is known when its handler returns: JSON, a {@link TextReply} or a {@link StreamReply}. */
export interface Route extends Notice {
  /** The answer that the head of a request has earned by itself; undefined: its body is read, and {@link handle} is asked. */
  readonly turnAway?: (knock: Knock) => Promise<TextReply> | undefined
  readonly handle: (visit: Visit) => unknown
}

interface Typed<Query extends z.ZodType, Body extends z.ZodType> extends Omit<Notice, 'query' | 'body'> {
  readonly query?: Query
  readonly body?: Body
  readonly turnAway?: Route['turnAway']
  readonly handle: (visit: Visit<z.infer<Query>, z.infer<Body>>) => unknown
}

/** Keeps the handler's types tied to its schemas; the server parses before it calls. */
export function route<Query extends z.ZodType = z.ZodType, Body extends z.ZodType = z.ZodType>(
  typed: Typed<Query, Body>,
): Route {
  // Safe: the server calls `handle` only with what `query` and `body` have parsed.
  return typed as unknown as Route
}
