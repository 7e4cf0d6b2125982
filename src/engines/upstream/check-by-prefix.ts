import { type CheckTask, type Evidence, noTokenId, PoolError, type PositionEvidence, protocolLimits } from '#protocol'
import { engineLimits } from '../limits.ts'
import { type Begun, type LikelyToken, type NextTokens, nextTokens } from './next-token.ts'
import type { UpstreamClient } from './upstream-client.ts'

/**
 * Looks at an answer through a server that shows no logits: it is asked for one token behind the answer's prefixes, and says how likely it
 * finds what really came there. Texts are compared, since ids are unknown: of the tokens it lists, the likeliest one that the
 * rest of the answer begins with counts as the one that was given.
 */
export async function checkByPrefix(
  client: UpstreamClient,
  model: string,
  task: CheckTask,
  signal: AbortSignal,
): Promise<Evidence> {
  const bent = bentBy(task.request)
  if (bent !== undefined) {
    throw new PoolError(
      'unsupported_parameter',
      `An upstream cannot look at answers with '${bent}'.`,
      'Ask another worker.',
    )
  }
  const text = Buffer.concat(task.tokens.map(({ piece }) => piece))
  const starts = startsOf(task.tokens)
  const asked = (task.positions ?? task.tokens.map((_, n) => n)).filter((n) => n < task.tokens.length)
  if (asked.length > engineLimits.prefixesMax) {
    throw new PoolError('invalid_request', 'An upstream looks at few positions only.', 'Ask for fewer.')
  }
  const begun: Begun = task.kind === 'chat' ? { kind: 'chat', request: task.request } : task
  const next = (at: number) =>
    nextTokens(client, model, begun, { prefix: text.toString('utf8', 0, at), count: 1 }, signal)
  const positions: PositionEvidence[] = []
  let promptTokens = 0
  for (const position of asked.toSorted((a, b) => a - b)) {
    const at = wholeBefore(text, starts[position] ?? 0)
    const found = await next(at)
    if (at === 0) promptTokens = found.promptTokens
    positions.push(positionOf(position, found, text.subarray(at), task.top))
  }
  const shown = shownBy(task)
  const last = task.tokens.length
  const end = shown === 'nothing' ? endOf(last, await next(wholeBefore(text, text.length)), task.top) : undefined
  return {
    method: 'prefix',
    promptTokens,
    completionTokens: last,
    wrongPieces: [],
    unknownAt: undefined,
    positions,
    ending: { shown, end },
    logitsHash: undefined,
  }
}

/** What changes probabilities between two tokens, or binds the answer to a grammar: none of it is seen in a prefix. */
function bentBy(request: CheckTask['request']): string | undefined {
  const { presence_penalty: presence, frequency_penalty: frequency, logit_bias: bias } = request
  if (presence) return 'presence_penalty'
  if (frequency) return 'frequency_penalty'
  if (bias && Object.keys(bias).length > 0) return 'logit_bias'
  if ('tools' in request && request.tools?.length) return 'tools'
  return 'response_format' in request && request.response_format ? 'response_format' : undefined
}

/** Offsets at which the tokens begin. */
function startsOf(tokens: CheckTask['tokens']): number[] {
  let at = 0
  return tokens.map(({ piece }) => {
    at += piece.length
    return at - piece.length
  })
}

/** The last offset up to this one that splits no character. */
function wholeBefore(text: Buffer, at: number): number {
  let whole = at
  while (whole > 0 && whole < text.length && ((text[whole] ?? 0) & 0xc0) === 0x80) whole--
  return whole
}

/** Servers leave stop strings out of the text: where there are any, one of them may have been the end. */
function shownBy({ tokens, maxTokens, request: { stop } }: CheckTask): Evidence['ending']['shown'] {
  if (tokens.length >= maxTokens) return 'length'
  return stop && stop.length > 0 ? 'stop_string' : 'nothing'
}

/** Logits relative to the likeliest token's, in the range that evidence has. */
const relative = (logprob: number, best: number) => Math.max(protocolLimits.logitMin, Math.min(0, logprob - best))

function positionOf(position: number, { likely }: NextTokens, rest: Buffer, top: number): PositionEvidence {
  const given = likely.find(({ piece }) => piece.length > 0 && rest.subarray(0, piece.length).equals(piece))
  // Of a token that is not listed it is known that it is no likelier than the last that is.
  return seen(position, likely, (given ?? likely.at(-1))?.logprob, given ? likely.indexOf(given) : undefined, top)
}

/** How far the end falls short. Who does not list it leaves it at most what the listed tokens leave. */
function endOf(position: number, { chosen, likely }: NextTokens, top: number): PositionEvidence {
  const isEnd = ({ piece }: LikelyToken) => piece.length === 0 || /^<[^<>\s]+>$/.test(piece.toString())
  const listed = likely.findIndex(isEnd)
  if (chosen.length === 0 || listed === 0) return seen(position, [], 0, undefined, top)
  const logprob = listed > 0 ? likely[listed]?.logprob : Math.log(Math.max(leftOf(likely), Number.MIN_VALUE))
  return seen(position, likely, logprob, listed > 0 ? listed : undefined, top)
}

/** Ids are places in the list of likely tokens; the last entry stands for all that are not in it, unless that is more than the likeliest. */
function seen(
  position: number,
  likely: readonly LikelyToken[],
  given: number | undefined,
  place: number | undefined,
  top: number,
): PositionEvidence {
  const best = likely[0]?.logprob ?? 0
  const logit = relative(given ?? best, best)
  const told = likely.slice(0, Math.max(0, top - 1))
  const listed = told.map(({ logprob }, id) => ({ id, logit: relative(logprob, best) }))
  const left = Math.log(Math.max(leftOf(told), Number.MIN_VALUE)) - best
  const rest = top > 0 && told.length > 0 && left <= 0 ? [{ id: noTokenId, logit: relative(left, 0) }] : []
  return {
    position,
    chosen: { id: place !== undefined && place < told.length ? place : noTokenId, logit, noise: 0 },
    choice: { id: 0, logit: 0, noise: 0 },
    margin: -logit + 0,
    top: [...listed, ...rest],
  }
}

/** Probability of all tokens that are not listed. */
const leftOf = (listed: readonly LikelyToken[]) => 1 - listed.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0)
