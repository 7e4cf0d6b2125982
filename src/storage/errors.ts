import { PoolError } from '#protocol'

/** The code of a PostgreSQL, postgres.js or socket error; '' when it has none. */
export function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : ''
  return typeof code === 'string' ? code : ''
}

const socketCodes = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH'])
const resolverCodes = new Set(['ENOTFOUND', 'EAI_AGAIN'])
/** The same codes say of a file that it is missing or closed to us; only a connection that failed with them may do better soon. */
const pathCodes = new Set(['ENOENT', 'EACCES', 'EPERM'])

const isOf = (error: unknown, calls: readonly string[]) =>
  error instanceof Error && 'syscall' in error && calls.includes(String(error.syscall))

/** Whether the connection is gone, so that nobody knows if the statement was applied. */
export function isConnectionLoss(error: unknown): boolean {
  const code = codeOf(error)
  // 08 connection exception, 57P01–57P05 the server is stopping, crashed, starting or dropped us (PostgreSQL appendix A)
  const missing = code === 'ENOENT' && isOf(error, ['connect'])
  return (
    code.startsWith('CONNECT') || code.startsWith('08') || code.startsWith('57P') || socketCodes.has(code) || missing
  )
}

/** Whether the same transaction may well succeed a little later. */
export function isTransient(error: unknown): boolean {
  const code = codeOf(error)
  // 40001/40P01 lost to another writer · 53 out of disk, memory or connections · 57014 statement timeout · 58 I/O error
  // 55P03 lock timeout · 25006 read-only: a replica before its promotion
  const closed = pathCodes.has(code) && isOf(error, ['connect', 'getaddrinfo'])
  return (
    isConnectionLoss(error) ||
    resolverCodes.has(code) ||
    closed ||
    /^(?:40001|40P01|53|57014|58|55P03|25006)/.test(code)
  )
}

/** What a caller may be told: `database_unavailable` for what passes, the error itself for our own mistakes. */
export function databaseError(error: unknown): unknown {
  // 22021 character_not_in_repertoire: U+0000, which PostgreSQL's text cannot hold
  if (codeOf(error) === '22021')
    return new PoolError('invalid_request', 'A text holds the character U+0000.', 'Leave it out.')
  if (!isTransient(error)) return error
  return new PoolError(
    'database_unavailable',
    `The database does not answer (${codeOf(error)}).`,
    'Try again in a moment. If it lasts, look at the log of the pool and the disk it runs on.',
    { retryAfterMs: 1_000 },
  )
}

/** What was asked of the database; what it answers instead is told as {@link databaseError} has it. */
export async function fromDatabase<T>(asked: PromiseLike<T>): Promise<T> {
  try {
    return await asked
  } catch (error) {
    throw databaseError(error)
  }
}

/** `database_unavailable` because of time. */
export function databaseLate(what: string): PoolError {
  return new PoolError(
    'database_unavailable',
    `The database did not ${what} in time.`,
    'Try again in a moment. If it lasts, look at the log of the pool and the disk it runs on.',
    { retryAfterMs: 1_000 },
  )
}
