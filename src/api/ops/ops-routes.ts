import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { ApiDeps } from '../deps.ts'
import { homePage, homePagePolicy, homeStyle } from '../home-page.ts'
import { apiLimits } from '../limits.ts'
import { toModel } from '../openai/models.ts'
import { type Route, route, TextReply } from '../route.ts'
import { readiness } from './readiness.ts'

type Needs = Pick<
  ApiDeps,
  'runtime' | 'databaseAnswers' | 'isStopping' | 'metrics' | 'version' | 'poolId' | 'publicUrl' | 'models'
>

const json = 'application/json; charset=utf-8'
const versionSchema = z.strictObject({ name: z.literal('lichen'), version: z.string(), pool: z.string() })
const readySchema = z.strictObject({ ready: z.boolean(), reason: z.string().nullable() })

/** Doors for machines that watch the pool, and the page for a person who opens it in a browser. */
export function opsRoutes(deps: Needs): readonly Route[] {
  const metrics = atMostOften(() => deps.metrics(), deps.runtime, apiLimits.metricsAgeMs)
  const version = { name: 'lichen' as const, version: deps.version, pool: deps.poolId }
  return [
    route({
      method: 'GET',
      path: '/healthz',
      caller: 'anyone',
      summary: 'The process runs and answers.',
      reply: z.strictObject({ ok: z.literal(true) }),
      handle: () => ({ ok: true }),
    }),
    route({
      method: 'GET',
      path: '/readyz',
      caller: 'anyone',
      summary: 'Whether a request would be answered now: 200, or 503 with the reason.',
      reply: readySchema,
      handle: async () => {
        const { ready, reason } = await readiness(deps)
        return new TextReply(json, JSON.stringify({ ready, reason }), ready ? 200 : 503)
      },
    }),
    route({
      method: 'GET',
      path: '/metrics',
      caller: 'anyone',
      summary: "Metrics in Prometheus' text format.",
      handle: async () => new TextReply('text/plain; version=0.0.4; charset=utf-8', await metrics()),
    }),
    route({
      method: 'GET',
      path: '/version',
      caller: 'anyone',
      summary: 'Version and identity of the pool.',
      reply: versionSchema,
      handle: () => version,
    }),
    homeRoute(deps, version),
  ]
}

const wantsHtml = (accept: string | undefined) => accept?.includes('text/html') === true
const policy = homePagePolicy(createHash('sha256').update(homeStyle).digest('base64'))

function homeRoute(deps: Needs, version: z.infer<typeof versionSchema>): Route {
  return route({
    method: 'GET',
    path: '/',
    caller: 'anyone',
    summary: 'A page for people; the version for programs.',
    reply: versionSchema,
    handle: async ({ headers }) => {
      if (!wantsHtml(headers.accept)) return version
      const { ready } = await readiness(deps)
      const models = deps.models.list().map((entry) => ({ id: entry.name, workers: toModel(entry).lichen.workers }))
      const page = homePage({ pool: deps.poolId, version: deps.version, url: deps.publicUrl, ready, models })
      return new TextReply('text/html; charset=utf-8', page, 200, ['content-security-policy', policy, 'vary', 'accept'])
    },
  })
}

/** Makes a page anew at most every `ageMs`; whoever asks meanwhile gets the same one. */
function atMostOften(make: () => Promise<string>, runtime: ApiDeps['runtime'], ageMs: number): () => Promise<string> {
  let made: { readonly at: number; readonly page: Promise<string> } | undefined
  return () => {
    const now = runtime.monotonic()
    if (!made || now - made.at >= ageMs) made = { at: now, page: make() }
    return made.page
  }
}
