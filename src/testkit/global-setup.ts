import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'

/** Where test files find the run's database server. */
const brokerVariable = 'LICHEN_TEST_BROKER'

/** Starts {@link file://./broker.ts} for a run of the suite and ends it afterwards. Vitest's `globalSetup`. */
export default async function setup(): Promise<() => Promise<void>> {
  const program = path.join(import.meta.dirname, 'broker.ts')
  const broker = spawn(process.execPath, ['-C', 'lichen-source', program], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(broker, 'exit')
  const [socketPath] = await Promise.race([
    once(createInterface(broker.stdout), 'line'),
    ended.then(() => {
      throw new Error('the test database broker did not start')
    }),
  ])
  process.env[brokerVariable] = socketPath
  return async () => {
    broker.stdin.end()
    await ended
  }
}
