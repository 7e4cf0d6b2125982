/** The one answer every contender must relay: 64 tokens of an OpenAI-compatible upstream. */
export const tokens: readonly string[] = Array.from({ length: 64 }, (_, i) => ` word${i}`)
export const text = tokens.join('')

export const requestBody = (stream: boolean) =>
  JSON.stringify({
    model: 'bench-64',
    messages: [
      { role: 'system', content: 'You are a helpful assistant that answers in one short paragraph.' },
      { role: 'user', content: 'Tell me what a lichen is, where it grows, and why two organisms share one body.' },
    ],
    max_tokens: 64,
    temperature: 0.7,
    ...(stream ? { stream: true } : {}),
  })
