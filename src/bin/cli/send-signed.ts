import type { PoolClient } from './pool-client.ts'
import { CommandProblem, PoolRefusal, UnreachableError } from './problem.ts'

/** A grant or payment as the pool answers it. */
export interface Moved {
  readonly id: string
  readonly kind: string
  readonly at: string
  readonly from: string
  readonly to: string
  readonly amount: string
}

const pausesMs = [500, 2_000, 5_000]

/**
 * Sends signed bytes until the pool says what became of them: the same bytes are the same transfer, so sending them
 * again moves nothing twice. Gives up after a few tries, and then says that the outcome is not known.
 */
export async function sendSigned(client: PoolClient, route: string, body: object, id: string): Promise<Moved> {
  const { systemRuntime } = await import('#runtime')
  for (let tries = 0; ; tries++) {
    try {
      return await client.json<Moved>('POST', route, body)
    } catch (error) {
      if (!isUnknown(error)) throw error
      const pause = pausesMs[tries]
      if (pause === undefined) throw unknownOutcome(error, id)
      await systemRuntime.sleep(pause)
    }
  }
}

const unknownCodes: readonly string[] = [
  'database_unavailable',
  'internal_error',
  'shutting_down',
  'overloaded',
  'unexpected_answer',
]

const isUnknown = (error: unknown) =>
  error instanceof UnreachableError || (error instanceof PoolRefusal && unknownCodes.includes(error.code))

function unknownOutcome(error: unknown, id: string): CommandProblem {
  const message = `The pool did not say what became of transfer ${id}: ${(error as Error).message}`
  return new CommandProblem(
    'outcome_unknown',
    message,
    'See whether `lichen ledger history` has it before you try again.',
  )
}
