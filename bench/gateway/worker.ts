// A real worker whose engine answers at once with the 64 tokens. Usage: node -C lichen-source worker.ts INVITE DATA_DIR
import { runAgent } from '#agent'
import { systemRuntime } from '#runtime'
import { demoOffer, PacedEngine } from '#testkit'
import { tokens } from './answer.ts'

const [invite, dataDir = ''] = process.argv.slice(2)
const engine = new PacedEngine({
  runtime: systemRuntime,
  pieces: tokens,
  slots: 1_024,
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
