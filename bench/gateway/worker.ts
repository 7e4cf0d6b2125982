// A real worker whose engine answers with the 64 tokens, at once or one every so many milliseconds. Usage: node -C lichen-source worker.ts INVITE DATA_DIR [TOKEN_MS]
import { runAgent } from '#agent'
import { systemRuntime } from '#runtime'
import { demoOffer, PacedEngine } from '#testkit'
import { tokens } from './answer.ts'

const [invite, dataDir = '', tokenMs = '0'] = process.argv.slice(2)
const engine = new PacedEngine({
  runtime: systemRuntime,
  pieces: tokens,
  everyMs: Number(tokenMs),
  slots: 1_024,
  keepsTasks: false,
  offers: [{ ...demoOffer, name: 'bench-64' }],
})
const stop = new AbortController()
process.once('SIGTERM', () => stop.abort())
await runAgent({
  invite,
  dataDir,
  engines: [engine],
  agent: 'lichen-bench',
  runtime: systemRuntime,
  log: { info: () => {}, warn: (fields: object, message: string) => console.error(message, fields) } as never,
  signal: stop.signal,
})
