import { type Answer, federationLimits, type RawRequest, type StreamedAnswer } from '#federation'
import { type Knock, type Origin, type Route, route, StreamReply, TextReply } from '../route.ts'

/** Federation, as the doors see it. */
export interface FederationDoor {
  info(): Promise<Answer>
  directory(page: 'molecule' | 'discover' | 'pools'): Promise<Answer>
  /** What the head of a signed request has earned by itself; undefined: its body is read, and `answer` is asked. */
  turnAway(knock: Knock): Promise<Answer> | undefined
  answer(request: RawRequest, origin: Origin): Promise<Answer | StreamedAnswer>
}

function reply(answer: Answer | StreamedAnswer): TextReply | StreamReply {
  if ('pieces' in answer) return new StreamReply(answer.contentType, answer.pieces, [], answer.abandon)
  return whole(answer)
}

const whole = ({ status, body, headers }: Answer) =>
  new TextReply('application/json; charset=utf-8', JSON.stringify(body), status, headers)

/** The doors for other pools. Who comes through a signed one is known by the signature over the very bytes of the request. */
export function federationRoutes(federation: FederationDoor): readonly Route[] {
  const signed = (path: string, summary: string): Route =>
    route({
      method: 'POST',
      path,
      caller: 'anyone',
      summary,
      bodyBytesMax: federationLimits.bodyBytesMax,
      turnAway: (knock) => federation.turnAway(knock)?.then(whole),
      handle: async ({ raw }) => reply(await federation.answer(raw.request, raw)),
    })
  return [
    route({
      method: 'GET',
      path: '/v1/federation/info',
      caller: 'anyone',
      summary: 'Who this pool is, to other pools.',
      // a peer of version 2 asks signed, and gets a signed answer
      handle: async ({ headers, raw }) =>
        reply(
          headers['x-iamine-envelope'] === undefined
            ? await federation.info()
            : await federation.answer(raw.request, raw),
        ),
    }),
    ...(['molecule', 'discover', 'pools'] as const).map((page) =>
      route({
        method: 'GET',
        path: `/v1/federation/${page}`,
        caller: 'anyone',
        summary: 'This pool and the pools it trusts and has seen lately.',
        handle: async () => reply(await federation.directory(page)),
      }),
    ),
    signed('/v1/federation/handshake', 'Another pool introduces itself (signed).'),
    signed('/v1/federation/verify', 'Prove to a known pool that the key is here (signed).'),
    signed('/v1/federation/job', 'Another pool lends itself an answer of the workers here (signed).'),
    signed('/v1/federation/receipt', 'What was signed here for a job of another pool (signed).'),
    signed('/v1/federation/statement', 'What this pool has in its books about work with another (signed).'),
    signed('/v1/federation/peer/accept', 'Another pool gives its word on a bond, and takes ours (signed).'),
    signed('/v1/federation/admin/request', 'Another pool asks the human here for something (signed).'),
    signed('/v1/federation/admin/callback', 'Another pool says what became of a request (signed).'),
    signed('/v1/federation/facts/tail', 'Facts that are new here, to bonded pools (signed).'),
    signed('/v1/federation/facts/sketch', 'Cells of a sketch of all facts here, to bonded pools (signed).'),
    signed('/v1/federation/facts/get', 'Facts by their short ids, to bonded pools (signed).'),
    signed(
      '/v1/federation/witness',
      'A bonded pool shows the newest checkpoint of its log, and gets a signature (signed).',
    ),
    signed('/v1/federation/witness/seen', 'A bonded pool asks what was seen of its log here (signed).'),
    ...['ingest', 'jwt/session'].map((one) =>
      signed(`/v1/federation/accounts/${one}`, 'Refused to everybody: nobody writes accounts here from outside.'),
    ),
    signed('/v1/federation/peer/status', 'How busy this pool is, in tiers, to bonded pools (signed).'),
  ]
}
