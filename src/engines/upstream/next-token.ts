import { z } from 'zod'
import { completionPromptOf, type OpenAiRequests } from '#protocol'
import { engineLimits } from '../limits.ts'
import { listedTokens } from './answer-chunk.ts'
import { refuseStatus } from './refuse-status.ts'
import { readJson, readText, type UpstreamClient, UpstreamFault } from './upstream-client.ts'

/** A request whose answer is gone on with. */
export type Begun =
  | { readonly kind: 'chat'; readonly request: OpenAiRequests['chat'] }
  | { readonly kind: 'completion'; readonly request: OpenAiRequests['completion']; readonly choice: number }

/** One of the tokens that an upstream finds likely. */
export interface LikelyToken {
  readonly piece: Buffer
  /** Natural logarithm of its probability at temperature 1. */
  readonly logprob: number
}

/** What an upstream would go on with. */
export interface NextTokens {
  /** Its first choices, token by token; empty: it ends here. */
  readonly chosen: readonly LikelyToken[]
  /** What it finds likely in place of the first of them, likeliest first; empty where it ends here and lists nothing. */
  readonly likely: readonly LikelyToken[]
  /** Of prompt and prefix, as it counts; 0: it does not say. */
  readonly promptTokens: number
}

const replySchema = z.object({
  choices: z
    .array(
      z.object({ logprobs: z.unknown().optional(), finish_reason: z.string().nullish(), text: z.string().nullish() }),
    )
    .min(1),
  usage: z.object({ prompt_tokens: z.int().min(0).nullish() }).nullish(),
})

/** Asks for the greediest tokens behind a prefix of the answer. Throws an {@link UpstreamFault} where no probabilities come. */
export async function nextTokens(
  client: UpstreamClient,
  model: string,
  begun: Begun,
  { prefix, count }: { readonly prefix: string; readonly count: number },
  signal: AbortSignal,
): Promise<NextTokens> {
  const path = begun.kind === 'chat' ? '/chat/completions' : '/completions'
  const body = { model, max_tokens: count, temperature: 0, ...bodyOf(begun, prefix) }
  const response = await client.post(path, body, signal)
  if (response.statusCode !== 200) {
    const text = await readText(response.body, engineLimits.upstreamListBytesMax, signal)
    throw refuseStatus(response.statusCode, client.hideKey(text))
  }
  const reply = replySchema.safeParse(await readJson(response.body, engineLimits.upstreamListBytesMax, signal))
  const [choice] = reply.success ? reply.data.choices : []
  if (!reply.success || !choice) throw new UpstreamFault('the upstream sent something that is no answer')
  const listed = listedTokens(choice)
  const ended = choice.finish_reason === 'stop'
  if (!listed?.length && !ended) throw new UpstreamFault('the upstream shows no probabilities')
  const [first] = listed ?? []
  const top = (first?.top ?? []).map(({ piece, logprob }) => ({ piece, logprob }))
  const chosen = (listed ?? []).map(({ piece, logprob = 0 }) => ({ piece, logprob }))
  const likely = top.length > 0 ? top : chosen.slice(0, 1)
  likely.sort((a, b) => b.logprob - a.logprob)
  return {
    chosen: chosen.filter(({ piece }) => piece.length > 0),
    likely,
    promptTokens: reply.data.usage?.prompt_tokens ?? 0,
  }
}

function bodyOf(begun: Begun, prefix: string): Record<string, unknown> {
  if (begun.kind === 'completion') {
    const { completionLikelyMax: logprobs } = engineLimits
    return { prompt: completionPromptOf(begun.request, begun.choice) + prefix, logprobs }
  }
  const { messages } = begun.request
  const asked = { logprobs: true, top_logprobs: engineLimits.chatLikelyMax }
  if (prefix === '') return { messages, ...asked }
  const going = { continue_final_message: true, add_generation_prompt: false }
  return { messages: [...messages, { role: 'assistant', content: prefix }], ...going, ...asked }
}
