/**
 * Cost of the strict JSON parser against JSON.parse on a 1 KiB chat body, interleaved. Prints microseconds; asserts nothing.
 *
 *   node -C lichen-source bench/parse-json.ts
 */
import { parseJson } from '#protocol'

const sentence = 'What does a lichen live on, and why does it need two partners to do so? '
const body = Buffer.from(
  JSON.stringify({
    model: 'demo',
    messages: [
      { role: 'system', content: 'You answer in one "short" sentence.\nBe kind.' },
      { role: 'user', content: sentence.repeat(5) },
      { role: 'assistant', content: sentence },
      { role: 'user', content: sentence.repeat(4) },
    ],
    temperature: 0.7,
    max_tokens: 64,
    stream: true,
    stop: ['\n\n', 'END'],
    metadata: { session: 'a1b2c3', turn: '4' },
  }),
)

function microseconds(run: () => unknown, rounds = 100_000): number {
  const start = performance.now()
  for (let i = 0; i < rounds; i += 1) run()
  return ((performance.now() - start) * 1_000) / rounds
}

const plain: number[] = []
const strict: number[] = []
for (let round = 0; round < 9; round += 1) {
  plain.push(microseconds(() => JSON.parse(body.toString('utf8'))))
  strict.push(microseconds(() => parseJson(body)))
}
const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] ?? 0
const [p, s] = [median(plain), median(strict)]
console.log(
  `body ${body.length} bytes · JSON.parse ${p.toFixed(2)} µs · parseJson ${s.toFixed(2)} µs · ratio ${(s / p).toFixed(2)}`,
)
