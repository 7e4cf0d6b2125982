import type { IncomingMessage } from 'node:http'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import {
  assuranceHeader,
  type OpenAiKind,
  orderHeader,
  PoolError,
  privacyHeader,
  protocolLimits,
  type Refusal,
} from '#protocol'
import { hangUp } from '#transport'
import { adminRoutes } from './admin/admin-routes.ts'
import { answerPreflights, originHeaders } from './browser-origins.ts'
import type { ApiDeps, Client } from './deps.ts'
import { Doorkeeper } from './doorkeeper.ts'
import { federationRoutes } from './federation/federation-routes.ts'
import { openGate } from './gate.ts'
import { limitPipelining } from './limit-pipelining.ts'
import { type ApiLimits, apiLimits } from './limits.ts'
import { logRoutes } from './log/log-routes.ts'
import { clientMoneyRoutes } from './money/client-money.ts'
import type { AnswerHouse } from './openai/answer.ts'
import type { AnswerRoute } from './openai/answer-route.ts'
import { chatCompletions } from './openai/chat-completions.ts'
import { completions } from './openai/completions.ts'
import { embeddings } from './openai/embeddings.ts'
import { LiveAnswers } from './openai/live-answers.ts'
import { modelRoutes } from './openai/models.ts'
import { receiptRoutes } from './openai/receipts.ts'
import { serveAnswer } from './openai/serve-answer.ts'
import { openApiRoute } from './ops/openapi.ts'
import { opsRoutes } from './ops/ops-routes.ts'
import { poolPageRoutes } from './pool-page/pool-page-routes.ts'
import { refuseSocket } from './refuse-socket.ts'
import { RequestCounts } from './request-counts.ts'
import { requestId } from './request-id.ts'
import type { Method, Notice, Route } from './route.ts'
import { serveRoute, turnAwayHook } from './serve-route.ts'
import { modelFileRoute } from './workers/model-files.ts'

type AnyAnswerRoute = { [K in OpenAiKind]: AnswerRoute<K> }[OpenAiKind]

/** Doors whose answers workers compute. */
const answerRoutes: readonly AnyAnswerRoute[] = [chatCompletions, completions, embeddings]

/** Every door of the server, as the docs and `/openapi.json` list them. */
function allRoutes(
  deps: ApiDeps,
  limits: ApiLimits,
  counts: RequestCounts,
): { simple: readonly Route[]; notices: readonly Notice[] } {
  const known = [
    ...modelRoutes(deps.models, () => deps.modelsElsewhere?.()),
    ...receiptRoutes(deps),
    ...clientMoneyRoutes({ money: deps.money, identity: deps.admin.identity, runtime: deps.runtime }),
    ...logRoutes(deps.logReader, deps.toldEpochs),
    ...federationRoutes(deps.federation),
    ...opsRoutes(deps),
    modelFileRoute(deps),
    ...adminRoutes(deps, limits, counts),
    ...poolPageRoutes(deps),
  ]
  const openApi = openApiRoute(deps.version, [...answerRoutes, ...known])
  const simple = [...known, openApi]
  return { simple, notices: [...answerRoutes, ...simple] }
}

/**
 * The pool's HTTP server, not yet listening. Worker sessions are attached to its `server` by whoever listens.
 * `close()` stops accepting and waits for the responses that are under way.
 */
export function buildServer(handedIn: ApiDeps): FastifyInstance {
  const counts = new RequestCounts()
  const clientPaths = new Set(['other'])
  const deps = { ...handedIn, ended: countedBy(counts, clientPaths, handedIn.ended) }
  const limits: ApiLimits = { ...apiLimits, ...deps.limits }
  const headersFor = originHeaders(deps)
  const doorkeeper = new Doorkeeper(deps, limits, headersFor)
  const app = newServer(deps, limits, doorkeeper)
  answerPreflights(app, headersFor)
  const live = new LiveAnswers(deps.runtime)
  const house: AnswerHouse = { runtime: deps.runtime, limits, live, ended: deps.ended }
  const { simple, notices } = allRoutes(deps, limits, counts)
  for (const { caller, path } of notices) if (caller === 'client') clientPaths.add(path)
  for (const route of answerRoutes) addAnswerRoute(app, route, deps, house, doorkeeper)
  const addSimple = (to: FastifyInstance, route: Route) =>
    to.route({
      method: route.method,
      url: route.path,
      bodyLimit: route.bodyBytesMax ?? limits.adminBodyBytesMax,
      onRequest: route.turnAway
        ? [doorkeeper.hookFor(route.caller), turnAwayHook(deps, doorkeeper, route)]
        : doorkeeper.hookFor(route.caller),
      handler: (request, reply) => void serveRoute(deps, doorkeeper, route, request, reply),
    })
  for (const route of simple) if (!route.form) addSimple(app, route)
  app.register(async (page) => {
    // forms are read here and nowhere else: a page of somebody else can send one without asking
    page.removeAllContentTypeParsers()
    page.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'buffer' }, (_, body, done) =>
      done(null, body),
    )
    for (const route of simple) if (route.form) addSimple(page, route)
  })
  addRefusals(app, notices, doorkeeper)
  app.addHook('onClose', async () => live[Symbol.dispose]())
  return app
}

/** A client's request that ends is counted here, besides what the program does with every one. */
function countedBy(counts: RequestCounts, paths: ReadonlySet<string>, ended: ApiDeps['ended']): ApiDeps['ended'] {
  return (route, status, ms) => {
    if (paths.has(route)) counts.add(status)
    ended(route, status, ms)
  }
}

function newServer(deps: ApiDeps, limits: ApiLimits, doorkeeper: Doorkeeper): FastifyInstance {
  const node = {
    maxHeaderSize: limits.headerBytesMax,
    headersTimeout: limits.headersTimeoutMs,
    connectionsCheckingInterval: limits.slowCheckMs,
    keepAlive: true,
    keepAliveInitialDelay: limits.tcpProbeMs,
    requireHostHeader: false, // the gate refuses in our words
    // Another upgrade (h2c) is an offer a server may ignore (RFC 9110 §7.8); the request is answered as it is.
    shouldUpgradeCallback: (request: IncomingMessage) => request.headers.upgrade?.toLowerCase() === 'websocket',
  }
  const common = {
    logger: false,
    bodyLimit: protocolLimits.bodyBytesMax,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    // A request may wait in silence for as long as its job may; dead peers are found by the kernel's probes.
    connectionTimeout: 0,
    requestIdHeader: false,
    genReqId: (raw: { headers: Record<string, string | string[] | undefined> }) =>
      requestId(raw.headers['x-request-id'], deps.runtime),
    return503OnClosing: false,
    clientErrorHandler: refuseSocket,
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) =>
      doorkeeper.refuse(error, request, reply, 'other'),
    routerOptions: { maxParamLength: 1_024 },
  } as const
  // The two servers differ in types the routes never see.
  const app = (deps.tls
    ? fastify({ ...common, https: { ...node, ...deps.tls } })
    : fastify({ ...common, http: node })) as unknown as FastifyInstance
  app.server.maxConnections = limits.connectionsMax
  limitPipelining(app.server, limits.pipelinedRequestsMax)
  answerForNode(app)
  app.decorateRequest('entry', null)
  const gate = openGate(deps)
  app.addHook('onRequest', (request, _reply, done) => {
    const refusal = gate(request.raw)
    done(refusal && PoolError.from(refusal))
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  return app
}

/** What node:http would answer, or cut, in its own way: expectations go to the gate, tunnels are told that there are none. */
function answerForNode({ server }: FastifyInstance): void {
  server.on('checkExpectation', (request, response) => server.emit('request', request, response))
  server.on('connect', (_request, socket) => {
    socket.on('error', () => socket.destroy())
    hangUp(socket, noTunnel)
  })
}

const noTunnel: Refusal = {
  code: 'method_not_allowed',
  message: 'A pool is no proxy.',
  fix: 'Send requests to it, not through it.',
}

function addAnswerRoute<K extends OpenAiKind>(
  app: FastifyInstance,
  route: AnswerRoute<K>,
  deps: ApiDeps,
  house: AnswerHouse,
  doorkeeper: Doorkeeper,
): void {
  app.route({
    method: route.method,
    url: route.path,
    onRequest: doorkeeper.hookFor('client', true),
    handler: (request, reply) => {
      reply.hijack()
      const body = Buffer.isBuffer(request.body) ? request.body : emptyBody
      const { client, since, headers, turn } = doorkeeper.entryOf(request)
      const exchange = { route: route.path, out: reply.raw, headers, since, turn }
      // Node joins repeated headers of this kind into one string.
      const key = request.headers['idempotency-key'] as string | undefined
      const order = request.headers[orderHeader] as string | undefined
      const assurance = request.headers[assuranceHeader] as string | undefined
      const privacy = request.headers[privacyHeader] as string | undefined
      const asked = { client: knownClient(client), body, key, order, assurance, privacy, exchange }
      serveAnswer(deps, house, route, asked).catch((error) => doorkeeper.refuse(error, request, reply, route.path))
    },
  })
}

/** The hook in front of the route lets nobody else pass. */
function knownClient(client: Client | undefined): Client {
  if (!client) throw new Error('a client route was entered without a client')
  return client
}

const emptyBody = Buffer.alloc(0)
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const

/** Known paths with another method are 405, everything else is 404; both before any body is read. */
function addRefusals(app: FastifyInstance, notices: readonly Notice[], doorkeeper: Doorkeeper): void {
  const paths = new Set(notices.map((notice) => notice.path))
  for (const path of paths) {
    const known = notices.filter((notice) => notice.path === path).map((notice): Method => notice.method)
    const allow = known.includes('GET') ? [...known, 'HEAD'] : known
    const error = new PoolError('method_not_allowed', 'This path has no such method.', `Use ${allow.join(' or ')}.`)
    const rest = methods.filter((method) => !(allow as readonly string[]).includes(method))
    app.route({ method: rest, url: path, ...doorkeeper.closed(error, ['allow', allow.join(', ')]) })
  }
  const error = new PoolError(
    'route_not_found',
    'There is nothing at this path.',
    'See `/openapi.json` for what there is.',
  )
  const closed = doorkeeper.closed(error, [])
  app.route({ method: [...methods], url: '*', ...closed })
  app.setNotFoundHandler(closed.handler)
  const routeOf = ({ routeOptions: { url = '' } }: FastifyRequest) => (paths.has(url) ? url : 'other')
  app.setErrorHandler((thrown, request, reply) => doorkeeper.refuse(thrown, request, reply, routeOf(request)))
}
