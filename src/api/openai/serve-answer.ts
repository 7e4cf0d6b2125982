import type { IdempotencyClaim, Replay } from '#jobs'
import { jobsLimits, NotAccepted } from '#jobs'
import {
  decodeOrderHeader,
  type FeatureNeed,
  featuresNeeded,
  type OpenAiKind,
  type OpenAiRequests,
  type OrderHeader,
  PoolError,
  parseModelName,
  parseOpenAiRequest,
} from '#protocol'
import type { ApiDeps, Client } from '../deps.ts'
import { toRefusal } from '../to-refusal.ts'
import { writeJson } from '../write-reply.ts'
import type { AnswerHouse, Exchange } from './answer.ts'
import type { AnswerRoute } from './answer-route.ts'
import { budgetHeaders } from './budget-headers.ts'
import { type ChosenModel, chooseModel } from './choose-model.ts'
import { standInFor } from './tiers.ts'
import { toAcceptedRequest } from './to-accepted-request.ts'
import { wishesOf } from './wishes.ts'

type Needs = Pick<ApiDeps, 'jobs' | 'models' | 'runtime' | 'log' | 'tiers'>

/** One request for computed work, as its door has let it in. */
export interface Asked {
  readonly client: Client
  readonly body: Buffer
  /** Its `Idempotency-Key`. */
  readonly key: string | undefined
  /** Its `x-lichen-order`, `x-lichen-assurance` and `x-lichen-privacy`. */
  readonly order: string | undefined
  readonly assurance: string | undefined
  readonly privacy: string | undefined
  readonly exchange: Exchange
}

/**
 * From bytes to an accepted job: parse, find the model, look whether it was asked before, open the answer, accept.
 * Throws a PoolError for what is refused before the answer is open; afterwards the answer itself says no.
 */
export async function serveAnswer<K extends OpenAiKind>(
  deps: Needs,
  house: AnswerHouse,
  route: AnswerRoute<K>,
  asked: Asked,
): Promise<void> {
  const parsed = parseOpenAiRequest(route.kind, asked.body)
  if (!parsed.ok) throw PoolError.from(parsed.refusal)
  const { request } = parsed
  const needs = featuresNeeded(route.kind, request)
  const allowed = asked.client.models ?? undefined
  const standIn = asked.order === undefined ? standInOf(deps, request.model, allowed, needs) : undefined
  const served = standIn ?? request.model
  const model = chooseModel(deps.models, served, allowed, needs)
  const order = asked.order === undefined ? undefined : orderOf(asked.order)
  const wishes = wishesOf(route.kind, request, { ...asked, order })
  const claim = asked.key === undefined ? undefined : await claimKey(deps, route, asked, asked.key, request)
  if (claim && 'body' in claim) return replay(house, asked.exchange, claim)
  const { client, body } = asked
  const { turn } = asked.exchange
  const exchange = { ...asked.exchange, served: standIn, claim }
  const answer = openAnswer(deps, house, route, exchange, request, { ...model, served })
  const accepted = toAcceptedRequest(route.kind, request, {
    body,
    key: client,
    order,
    model,
    asked: standIn === undefined ? undefined : request.model,
    needs,
    wishes,
    idempotency: claim,
    forwardable: client.forwarding ?? true,
  })
  try {
    const handle = await deps.jobs.accept(accepted, answer)
    turn?.taken(handle.left)
    answer.accepted(handle)
  } catch (error) {
    const { refusal, unexpected } = toRefusal(error)
    if (unexpected) deps.log.error({ err: error }, 'a request could not be accepted')
    const left = error instanceof NotAccepted ? error.left : undefined
    turn?.notTaken(left)
    answer.refuse(refusal, left && budgetHeaders(left, deps.runtime.now()))
  }
}

/** Another model, where nobody offers the one that is asked for. A payer who has signed for it, or pinned its file, gets that or nothing. */
function standInOf(
  { models, tiers }: Needs,
  asked: string,
  allowed: readonly string[] | undefined,
  needs: readonly FeatureNeed[],
): string | undefined {
  if (!tiers || models.find(asked) || (allowed && !allowed.includes(asked))) return undefined
  const { name, digest } = parseModelName(asked)
  return digest === undefined ? standInFor(name, tiers, models, allowed, needs) : undefined
}

function orderOf(header: string): OrderHeader {
  const parsed = decodeOrderHeader(header)
  if (!parsed.ok) throw PoolError.from(parsed.refusal)
  return parsed.header
}

function openAnswer<K extends OpenAiKind>(
  deps: Needs,
  house: AnswerHouse,
  route: AnswerRoute<K>,
  exchange: Exchange,
  request: OpenAiRequests[K],
  model: ChosenModel & { readonly served: string },
) {
  const created = Math.floor(deps.runtime.now() / 1_000)
  return route.answer(house, exchange, request, (handle) => {
    return { jobId: handle.id, created, model: model.served, fingerprint: model.fingerprint }
  })
}

/** The right to answer this key, or the answer it was given before. Waits while another request with it is answered. */
async function claimKey<K extends OpenAiKind>(
  deps: Needs,
  route: AnswerRoute<K>,
  { client, body, exchange }: Asked,
  key: string,
  request: OpenAiRequests[K],
): Promise<IdempotencyClaim | Replay> {
  if (key.length === 0 || key.length > jobsLimits.idempotencyKeyCharsMax) {
    const fix = `Send 1 to ${jobsLimits.idempotencyKeyCharsMax} characters, a fresh UUID for example.`
    throw new PoolError('invalid_request', 'The Idempotency-Key is empty or too long.', fix)
  }
  const stream = 'stream' in request && request.stream === true
  const answer = await deps.jobs.idempotent({ keyId: client.id, key, route: `POST ${route.path}`, body, stream })
  if (answer.state === 'refused') throw PoolError.from(answer.refusal)
  if (answer.state === 'replay') return answer.replay
  if (!exchange.out.destroyed) return answer.claim
  answer.claim.abandon()
  throw new PoolError('request_timeout', 'The client left.', 'Ask again.')
}

function replay(house: AnswerHouse, exchange: Exchange, { status, headers: ofJob, body }: Replay): void {
  const { out, headers, route, since, turn } = exchange
  turn?.notTaken()
  const rate = turn?.headers() ?? []
  if (!out.destroyed) writeJson(out, status, body, [...headers, ...rate, ...ofJob, 'idempotent-replayed', 'true'])
  house.ended(route, status, house.runtime.monotonic() - since)
}
