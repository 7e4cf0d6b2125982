import type { FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import { explainIssue, PoolError, parseJson } from '#protocol'
import type { ApiDeps } from './deps.ts'
import { actorOf, type Doorkeeper } from './doorkeeper.ts'
import { type Route, StreamReply } from './route.ts'
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
      raw: rawOf(request),
      by,
      actor: by.actor,
    })
    if (reply.raw.destroyed) return
    const status =
      value instanceof StreamReply
        ? await writeStream(reply.raw, value, headers, deps.runtime)
        : writeReply(reply.raw, value, route.status ?? 200, headers)
    deps.ended(route.path, status, deps.runtime.monotonic() - since)
  } catch (error) {
    doorkeeper.refuse(error, request, reply, route.path)
  }
}

function rawOf({ raw, body }: FastifyRequest) {
  const headers: [string, string][] = []
  for (let at = 0; at + 1 < raw.rawHeaders.length; at += 2) {
    headers.push([raw.rawHeaders[at] ?? '', raw.rawHeaders[at + 1] ?? ''])
  }
  const bytes = Buffer.isBuffer(body) ? body : Buffer.alloc(0)
  const forwarded = raw.headers['x-forwarded-for']
  return {
    request: { method: raw.method ?? '', target: raw.url ?? '', headers, body: bytes },
    remoteAddress: raw.socket.remoteAddress,
    forwardedFor: Array.isArray(forwarded) ? forwarded.join(',') : forwarded,
  }
}

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
