import type { Begun } from './next-token.ts'
import { nextTokens } from './next-token.ts'
import { UpstreamAway, type UpstreamClient } from './upstream-client.ts'

const text = 'Write the numbers from one to nine in words, in order, with commas between them.'
const kinds: readonly Begun[] = [
  { kind: 'chat', request: { model: '', messages: [{ role: 'user', content: text }] } },
  { kind: 'completion', request: { model: '', prompt: `${text}\n` }, choice: 0 },
]
const tokens = 6
/** Logits by which a token of its own answer may miss: no more than noise. */
const missMax = 0.5

/**
 * Whether an upstream shows probabilities and goes on with an answer that was begun: it is asked for one, and then for each token of it
 * behind those before. Who does not find its own answer likely would accuse everybody. Rejects when it cannot be reached.
 */
export async function continues(client: UpstreamClient, model: string, signal: AbortSignal): Promise<boolean> {
  const found: (boolean | undefined)[] = []
  for (const begun of kinds) found.push(await agreesWithItself(client, model, begun, signal))
  return found.includes(true) && !found.includes(false)
}

/** `undefined`: it does not do this kind at all. */
async function agreesWithItself(
  client: UpstreamClient,
  model: string,
  begun: Begun,
  signal: AbortSignal,
): Promise<boolean | undefined> {
  const ask = (prefix: string, count: number) => nextTokens(client, model, begun, { prefix, count }, signal)
  try {
    const { chosen } = await ask('', tokens)
    if (chosen.length < 2) return false
    let prefix = ''
    for (const { piece } of chosen.slice(0, -1)) {
      prefix += piece.toString()
      const wanted = chosen
        .map((one) => one.piece.toString())
        .join('')
        .slice(prefix.length)
      const { likely } = await ask(prefix, 1)
      const given = likely.find((one) => one.piece.length > 0 && wanted.startsWith(one.piece.toString()))
      if (!given || (likely[0]?.logprob ?? 0) - given.logprob > missMax) return false
    }
    return true
  } catch (error) {
    if (error instanceof UpstreamAway || signal.aborted) throw error
    const said = error instanceof Error ? error.message : ''
    return said.includes('does not have this model or this endpoint') ? undefined : false
  }
}
