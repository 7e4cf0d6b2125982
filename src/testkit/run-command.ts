import { execFile } from 'node:child_process'
import { lichenBin } from './neighbourhood.ts'

/** How a command ended, and what it said. */
export interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** Runs a command of Lichen to its end, with `home` as the folder it is in and nothing of this machine's settings. */
export function runCommand(
  home: string,
  args: readonly string[],
  { env, input = '' }: { env?: Record<string, string>; input?: string } = {},
): Promise<Ended> {
  const { PATH = '', NODE_COMPILE_CACHE = '' } = process.env
  const options = { env: { PATH, NODE_COMPILE_CACHE, HOME: home, ...env }, cwd: home }
  return new Promise((resolve) => {
    const child = execFile(lichenBin, args, options, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
    child.stdin?.end(input)
  })
}
