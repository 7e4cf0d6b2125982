import net from 'node:net'
import path from 'node:path'
import { text } from 'node:stream/consumers'

/** What the test files of a run share is in a folder that `global-setup.ts` names here. */
export const sharedVariable = 'LICHEN_TEST_SHARED'

/** The run's folder, kept by {@link file://./broker.ts}; undefined outside a run. */
export function sharedFolder(): string | undefined {
  return process.env[sharedVariable]
}

/** What the broker makes once for a run, when it is first asked for; undefined outside a run. @throws Error */
export async function askBroker<T>(what: 'server' | 'cluster'): Promise<T | undefined> {
  const folder = sharedFolder()
  if (folder === undefined) return undefined
  const answer = JSON.parse(await text(net.connect(path.join(folder, what)))) as { made: T } | { error: string }
  if ('error' in answer) throw new Error(`no ${what} for tests: ${answer.error}`)
  return answer.made
}
