import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import type { PoolClient } from './pool-client.ts'
import { CommandProblem } from './problem.ts'

/**
 * An answer as it arrives, to stdout or into a file; returns its bytes. A file appears under its name only when it is
 * whole. A reader of stdout that has seen enough (`head`) ends it.
 */
export async function saveAnswer(client: PoolClient, route: string, file?: string): Promise<number> {
  const answer = await client.request('GET', route)
  if (answer.status >= 400) return client.refuse(answer)
  let bytes = 0
  answer.body.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  if (file === undefined) await pipeline(answer.body, process.stdout, { end: false }).catch(unlessLeft)
  else await intoFile(answer.body, file)
  return bytes
}

async function intoFile(body: NodeJS.ReadableStream, file: string): Promise<void> {
  const part = `${file}.part`
  try {
    await pipeline(body, createWriteStream(part, { mode: 0o600 }))
    await rename(part, file)
  } catch (error) {
    await rm(part, { force: true })
    throw brokenOff(error, file)
  }
}

function unlessLeft(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw brokenOff(error)
}

function brokenOff(error: unknown, file = 'stdout'): unknown {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ENOENT' || code === 'EACCES' || code === 'ENOSPC' || code === 'EISDIR') {
    return new CommandProblem('not_written', `${file} cannot be written (${code}).`, 'Name another file with --out.')
  }
  if (code !== 'ECONNRESET' && code !== 'ERR_STREAM_PREMATURE_CLOSE') return error
  return new CommandProblem('broken_off', 'The pool broke the answer off before its end.', 'Try again; see its log.')
}
