import type { UsageClaim } from '#protocol'

/**
 * Why something a worker did is on record as a fault. `over_claim`: a claim never raises a bill, but it tells something about the worker.
 * `unsigned`: what it sent was relayed, and it did not vouch for it.
 */
export type Fault = 'over_claim' | 'unsigned'

/** What bounds the counts of one job. */
export interface CountBounds {
  /** Completion tokens of one choice. */
  readonly maxTokens: number
  readonly promptTokensMax: number
  /** Prompts among which the choices are divided. */
  readonly prompts: number
}

/** What is billed: the same count over the segments whose workers vouched for them. */
export function countBilled(bounds: CountBounds, choices: readonly (readonly SignedSegment[])[]): UsageClaim {
  return countUsage(
    bounds,
    choices.map((segments) => segments.filter((segment) => segment.signed)),
  )
}

export interface SignedSegment extends CountedSegment {
  readonly signed: boolean
}

/** One attempt of a choice: pieces relayed, and the worker's claim if it lived to make one. */
export interface CountedSegment {
  readonly pieces: number
  readonly claim: UsageClaim | undefined
  readonly fault?: Fault | undefined
}

/** Bound on the prompt tokens anyone may claim: a token is at least a byte, a message's frame at most 16 (contracts: counting). */
export function promptTokensMax(request: {
  promptBytes: number
  messages: number
  prompts?: number | undefined
}): number {
  return request.promptBytes + 16 * Math.max(request.messages, request.prompts ?? 1)
}

/**
 * Completion tokens = min(claim, pieces relayed, max_tokens) per choice, summed; a segment without a claim (its worker
 * was lost or the client left) counts what was relayed. Prompt tokens = the least claim of the choices of each prompt,
 * summed, at most the bound; 0 for a prompt whose workers all died before they could claim anything, or claimed what
 * cannot be.
 */
export function countUsage(bounds: CountBounds, choices: readonly (readonly CountedSegment[])[]): UsageClaim {
  let completionTokens = 0
  const promptClaims: (number | undefined)[] = new Array(bounds.prompts).fill(undefined)
  choices.forEach((segments, choice) => {
    let tokens = 0
    const prompt = Math.floor((choice * bounds.prompts) / choices.length)
    for (const { pieces, claim, fault } of segments) {
      tokens += Math.min(pieces, claim?.completionTokens ?? pieces)
      if (!claim) continue
      const claimed = fault === 'over_claim' ? 0 : claim.promptTokens
      promptClaims[prompt] = Math.min(promptClaims[prompt] ?? claimed, claimed)
    }
    completionTokens += Math.min(tokens, bounds.maxTokens)
  })
  const claimed = promptClaims.reduce<number>((sum, claim) => sum + (claim ?? 0), 0)
  return { promptTokens: Math.min(claimed, bounds.promptTokensMax), completionTokens }
}

/**
 * A claim above what the worker sent, above what was allowed, or far above what the prompt can hold.
 * `pieces` is undefined when they carry no token ids: an upstream may pack several tokens into one piece.
 */
export function faultOf(
  claim: UsageClaim,
  facts: { pieces: number | undefined; tokensLeft: number; promptTokensMax: number },
): Fault | undefined {
  const completionMax = Math.min(facts.pieces ?? facts.tokensLeft, facts.tokensLeft)
  return claim.completionTokens > completionMax || claim.promptTokens > facts.promptTokensMax ? 'over_claim' : undefined
}
