import type { Log } from './log.ts'
import { type After, OnceThenCounts } from './once-then-counts.ts'

/** For trouble of one kind: gives what is to be told each error. */
export type TroubleLog = (what: string) => (error: unknown) => void

interface Trouble {
  readonly what: string
  readonly code: string
}

const codeOf = (error: unknown) => {
  const { code, name } = (error ?? {}) as { code?: unknown; name?: unknown }
  return String(code ?? name ?? 'unknown')
}

/**
 * Errors of what is tried again and again, such as reading a table while the database is away: the first of a kind and code whole, then once a
 * minute how many more there were.
 */
export function troubleLog(log: Pick<Log, 'error'>, after: After): TroubleLog {
  let whole: { err?: unknown } = {}
  const rest = { what: 'more is in trouble', code: 'several' }
  const floods = new OnceThenCounts<Trouble>(after, rest, ({ what, code }, times) =>
    log.error({ ...whole, code, times }, what),
  )
  return (what) => (error) => {
    whole = { err: error }
    floods.happened({ what, code: codeOf(error) })
    whole = {}
  }
}
