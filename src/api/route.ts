import type { IncomingHttpHeaders } from 'node:http'
import type { z } from 'zod'

/** Who may come: anyone, a client with an API key, the pool's owner. */
export type Caller = 'anyone' | 'client' | 'owner'

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
  /** 200 unless something is made. */
  readonly status?: 200 | 201
}

/** What a handler is given: parsed, and from somebody who may. */
interface Visit<Query = unknown, Body = unknown> {
  readonly params: Readonly<Record<string, string>>
  readonly query: Query
  readonly body: Body
  readonly headers: IncomingHttpHeaders
  /** Names of models the caller's key is limited to; `undefined`: all. */
  readonly models: readonly string[] | undefined
}

/** A reply that is not JSON. */
export class TextReply {
  readonly contentType: string
  readonly text: string
  readonly status: number
  readonly headers: readonly string[]

  constructor(contentType: string, text: string, status = 200, headers: readonly string[] = []) {
    this.contentType = contentType
    this.text = text
    this.status = status
    this.headers = headers
  }
}

/** A door whose answer is known when its handler returns: JSON, or a {@link TextReply}. */
export interface Route extends Notice {
  readonly handle: (visit: Visit) => unknown
}

interface Typed<Query extends z.ZodType, Body extends z.ZodType> extends Omit<Notice, 'query' | 'body'> {
  readonly query?: Query
  readonly body?: Body
  readonly handle: (visit: Visit<z.infer<Query>, z.infer<Body>>) => unknown
}

/** Keeps the handler's types tied to its schemas; the server parses before it calls. */
export function route<Query extends z.ZodType = z.ZodType, Body extends z.ZodType = z.ZodType>(
  typed: Typed<Query, Body>,
): Route {
  // Safe: the server calls `handle` only with what `query` and `body` have parsed.
  return typed as unknown as Route
}
