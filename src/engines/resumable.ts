import type { OpenAiKind, OpenAiRequests } from '#protocol'

/** Whether the request binds the answer to a grammar, which the native sampler then follows. */
export function hasGrammar<K extends OpenAiKind>(kind: K, request: OpenAiRequests[K]): boolean {
  if (kind !== 'chat') return false
  const { response_format: format } = request as OpenAiRequests['chat']
  return format !== undefined && format !== null && format.type !== 'text'
}

/**
 * Whether a second worker can continue an answer from its token ids alone. Not for a grammar at T > 0: its dice are
 * llama.cpp's own, and their state is not on the record (contracts: sampler).
 */
export function canResume<K extends OpenAiKind>(kind: K, request: OpenAiRequests[K]): boolean {
  if (kind === 'embedding') return false
  const { temperature } = request as OpenAiRequests['chat' | 'completion']
  return !hasGrammar(kind, request) || temperature === 0
}
