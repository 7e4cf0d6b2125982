import { ConfigError } from '#config'
import type { PoolError } from '#protocol'
import { asTyped } from '../as-typed.ts'
import { exitCodes } from './exit-codes.ts'
import { clean } from './output.ts'

/** What went wrong, in the form of every refusal, and the exit code that says it to a script. */
export interface Problem {
  readonly code: string
  readonly message: string
  readonly fix: string
  readonly exitCode: number
}

/** The pool did not answer. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError'
}

/** Something only the command itself could find wrong. */
export class CommandProblem extends Error {
  override readonly name = 'CommandProblem'
  readonly code: string
  readonly fix: string
  readonly exitCode: number

  constructor(code: string, message: string, fix: string, exitCode: number = exitCodes.failed) {
    super(message)
    this.code = code
    this.fix = fix
    this.exitCode = exitCode
  }
}

/** A pool's refusal as it arrived over HTTP: OpenAI's envelope has one text for what is wrong and what to do. */
export class PoolRefusal extends Error {
  override readonly name = 'PoolRefusal'
  readonly code: string
  readonly fix: string

  constructor(code: string, text: string) {
    const [message, fix] = sentencesOf(text)
    super(message)
    this.code = code
    this.fix = fix
  }
}

/** The first sentence says what is wrong, all others what to do. A stop inside a word (`127.0.0.1`, `e.g.`) ends none. */
function sentencesOf(text: string): [message: string, fix: string] {
  const [, message, fix] = /^(.*?[.!?]["”’)]*)\s+(?=[A-Z`/])(.+)$/s.exec(text) ?? []
  return [message ?? text, fix ?? '']
}

export const unreachableFix = 'Start it with `lichen up`, or name the right one with --url or --data.'
/** Of refusals that came from elsewhere without one. */
const generalFix = '`lichen doctor` looks closer.'

export function explain(error: unknown): Problem {
  if (error instanceof ConfigError) {
    return { code: error.code, message: error.message, fix: error.fix, exitCode: exitCodes.usage }
  }
  if (isPoolError(error)) {
    const { code, message, fix } = error.refusal
    return { code, message, fix: fix || generalFix, exitCode: exitCodes.failed }
  }
  if (error instanceof CommandProblem) {
    return { code: error.code, message: error.message, fix: error.fix, exitCode: error.exitCode }
  }
  if (error instanceof PoolRefusal) {
    return { code: error.code, message: error.message, fix: error.fix || generalFix, exitCode: exitCodes.failed }
  }
  if (error instanceof UnreachableError) {
    const fix = `${unreachableFix} ${generalFix}`
    return { code: 'pool_unreachable', message: error.message, fix, exitCode: exitCodes.unreachable }
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { code: 'internal_error', message, fix: 'This is a mistake in lichen; please report it.', exitCode: 1 }
}

/** By shape: loading #protocol for its class would make every small command slower. */
function isPoolError(error: unknown): error is PoolError {
  return error instanceof Error && error.name === 'PoolError' && 'refusal' in error
}

/** One line for a person, or one JSON line for a program; on stderr, so that stdout holds results only. */
export function reportProblem(problem: Problem, json: boolean): void {
  const { code } = problem
  const [message, fix] = [asTyped(problem.message), asTyped(problem.fix)]
  process.stderr.write(
    json ? `${JSON.stringify({ error: { code, message, fix } })}\n` : `lichen: ${lines(message)}\n  ${lines(fix)}\n`,
  )
}

/** A pool's sentence may repeat names that others chose. */
const lines = (text: string) => text.split('\n').map(clean).join('\n')
