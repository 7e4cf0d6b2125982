import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { sharedVariable } from './shared.ts'

/** Starts {@link file://./broker.ts} for a run of the suite and ends it afterwards. Vitest's `globalSetup`. */
export default async function setup(): Promise<() => Promise<void>> {
  const program = path.join(import.meta.dirname, 'broker.ts')
  const broker = spawn(process.execPath, ['-C', 'lichen-source', program], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(broker, 'exit')
  const [folder] = await Promise.race([
    once(createInterface(broker.stdout), 'line'),
    ended.then(() => {
      throw new Error('the broker of what tests share did not start')
    }),
  ])
  process.env[sharedVariable] = folder
  process.env.NODE_COMPILE_CACHE ??= path.join(folder, 'compiled')
  return async () => {
    broker.stdin.end()
    await ended
  }
}
