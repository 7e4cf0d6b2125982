import { sha256 } from '#crypto'

/** Of a body that is not streamed: sha256 of its bytes. */
export function responseHash(body: Buffer): Buffer {
  return sha256(body)
}

/**
 * Of a server-sent event stream: sha256 of the lines that begin with `data:`, each followed by one LF, in order; comments and blank lines
 * are left out. Undefined when the bytes are not such a stream: every data line is followed by a blank line, every other line is blank or
 * a comment, and the last one is ended.
 */
export function streamHash(body: Buffer): Buffer | undefined {
  const lines = body.toString('latin1').split('\n')
  if (lines.pop() !== '') return undefined
  const data: string[] = []
  for (const [at, line] of lines.entries()) {
    if (line.startsWith('data:')) {
      if (lines[at + 1] !== '') return undefined
      data.push(line)
    } else if (line !== '' && !line.startsWith(':')) return undefined
  }
  return sha256(Buffer.from(data.map((line) => `${line}\n`).join(''), 'latin1'))
}
