import { readFile, stat } from 'node:fs/promises'
import { CommandProblem } from './problem.ts'

/** What `lichen fed info` prints has some hundred bytes. */
const fileBytesMax = 64 * 1_024

/**
 * What was typed, or, where that names a file, the bundle in it: the file may hold all that `lichen fed info` printed.
 * @throws CommandProblem invalid_request when the file holds no bundle.
 */
export async function placeOrBundleIn(typed: string): Promise<string> {
  if (/^(https?:\/\/|lichen-pool:)/.test(typed)) return typed
  const found = await stat(typed).catch(() => undefined)
  if (!found?.isFile()) return typed
  const text = found.size > fileBytesMax ? '' : await readFile(typed, 'utf8')
  const bundle = text.split('\n').find((line) => line.startsWith('lichen-pool:'))
  if (bundle !== undefined) return bundle.trim()
  const fix = 'Ask for what `lichen fed info` prints there, whole.'
  throw new CommandProblem('invalid_request', `No line of ${typed} is the bundle of a pool.`, fix, 1)
}
