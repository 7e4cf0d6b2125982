import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from 'pino'
import { observabilityLimits } from './limits.ts'
import { prettyLine } from './pretty-line.ts'

/** What rooms are handed to say what happened. Never a prompt, a reply or a secret: see {@link secretKeys}. */
export type Log = Logger

/** Members that are blanked wherever they stand, should a careless line ever carry one. */
export const secretKeys = [
  ...[
    'authorization',
    'cookie',
    'key',
    'apiKey',
    'api_key',
    'adminKey',
    'token',
    'invite',
    'seed',
    'secret',
    'password',
  ],
  ...['prompt', 'messages', 'input', 'content', 'body', 'text', 'reply'],
]

export interface LogOptions {
  readonly level: string
  /** Lines for a person instead of JSON. */
  readonly pretty: boolean
  readonly color: boolean
  /** The program's name on each line: `pool`, `worker`. */
  readonly program: string
  /** Where lines go instead of stderr. */
  readonly to?: DestinationStream
}

/** A log to stderr; `flush` before the program ends. */
export function createLog(options: LogOptions): { log: Log; flush: () => void } {
  const stderr = options.to
    ? undefined
    : destination({ dest: 2, sync: false, maxLength: observabilityLimits.bufferedBytesMax })
  stderr?.on('error', () => {}) // nobody reads stderr any more; there is nowhere to say so
  const raw = options.to ?? (stderr as DestinationStream)
  const log = pino(
    {
      level: options.level,
      base: { program: options.program },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      redact: { paths: secretKeys.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]), censor: '[redacted]' },
    },
    options.pretty ? { write: (line: string) => raw.write(prettyLine(line, options.color)) } : raw,
  )
  return { log, flush: () => stderr?.flushSync() }
}
