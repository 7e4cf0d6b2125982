import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import type { z } from 'zod'
import type { RawHead } from '#federation'
import { explainIssue, PoolError, parseJson } from '#protocol'
import type { ApiDeps } from './deps.ts'
import { actorOf, type Doorkeeper } from './doorkeeper.ts'
import { apiLimits } from './limits.ts'
import { type Origin, type Route, StreamReply } from './route.ts'
import { writeReply } from './write-reply.ts'
import { writeStream } from './write-stream.ts'

/** Runs a simple route: parse what they bring, ask the handler, write its value. Never rejects. */
export async function serveRoute(
  deps: Pick<ApiDeps, 'runtime' | 'ended'>,
  doorkeeper: Doorkeeper,
  route: Route,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  reply.hijack()
  const entry = doorkeeper.entryOf(request)
  const { since, headers, client } = entry
  const by = actorOf(entry)
  try {
    const value = await route.handle({
      params: request.params as Readonly<Record<string, string>>,
      query: parseWith(route.query, request.query),
      body: parseWith(route.body, route.body && bodyOf(request)),
      headers: request.headers,
      models: client?.models ?? undefined,
      client,
      get raw() {
        return { ...originOf(request), request: { ...headOf(request), body: bytesOf(request) } }
      },
      by,
      actor: by.actor,
    })
    // a stream is also ended by who does not read it: it holds a place, or a job
    if (reply.raw.destroyed && !(value instanceof StreamReply)) return
    const status =
      value instanceof StreamReply
        ? await writeStream(reply.raw, value, headers, deps.runtime)
        : writeReply(reply.raw, value, route.status ?? 200, headers)
    deps.ended(route.path, status, deps.runtime.monotonic() - since)
  } catch (error) {
    doorkeeper.refuse(error, request, reply, route.path)
  }
}

/**
 * In front of a route: what the head of a request alone has earned is said before its body is read. A short body is let pass by, which
 * costs less than a new connection; behind a long one, or one of unknown length, the connection ends.
 */
export function turnAwayHook(
  deps: Pick<ApiDeps, 'runtime' | 'ended'>,
  doorkeeper: Doorkeeper,
  { path, turnAway }: Pick<Route, 'path' | 'turnAway'>,
) {
  return (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void => {
    const { 'content-length': length = '0', 'transfer-encoding': coding } = request.headers
    const bodyBytes = Number(length)
    const said = turnAway?.({ head: headOf(request), bodyBytes, ...originOf(request) })
    if (!said) {
      done()
      return
    }
    reply.hijack()
    const { since, headers } = doorkeeper.entryOf(request)
    const ends = coding !== undefined || bodyBytes > apiLimits.passedByBytesMax
    said.then(
      (value) => {
        if (reply.raw.destroyed) return
        const status = writeReply(
          reply.raw,
          value,
          value.status,
          ends ? [...headers, ...doorkeeper.endUnread(reply)] : headers,
        )
        deps.ended(path, status, deps.runtime.monotonic() - since)
      },
      (error) => doorkeeper.refuse(error, request, reply, path),
    )
  }
}

const headOf = ({ raw }: FastifyRequest): RawHead => ({
  method: raw.method ?? '',
  target: raw.url ?? '',
  headers: raw.rawHeaders,
})

function originOf({ raw }: FastifyRequest): Origin {
  const forwarded = raw.headers['x-forwarded-for']
  return {
    remoteAddress: raw.socket.remoteAddress,
    forwardedFor: Array.isArray(forwarded) ? forwarded.join(',') : forwarded,
  }
}

const nothing = Buffer.alloc(0)
const bytesOf = ({ body }: FastifyRequest): Buffer => (Buffer.isBuffer(body) ? body : nothing)

/** The body as JSON; none at all means "nothing to say". */
function bodyOf(request: FastifyRequest): unknown {
  const { body } = request
  if (!Buffer.isBuffer(body) || body.length === 0) return {}
  const json = parseJson(body)
  if (!json.ok) throw PoolError.from(json.refusal)
  return json.value
}

function parseWith(schema: z.ZodType | undefined, value: unknown): unknown {
  if (!schema) return undefined
  const parsed = schema.safeParse(value)
  const issue = parsed.error?.issues[0]
  if (issue) throw PoolError.from(explainIssue(issue, value))
  return parsed.data
}
