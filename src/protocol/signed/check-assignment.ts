import { sha256 } from '#crypto'
import type { Refusal } from '../pool-error.ts'
import { bodyCommitment } from './body-commitment.ts'
import type { Signed } from './envelope.ts'
import { epochOf } from './epoch.ts'
import type { Assignment } from './messages.ts'
import type { SignatureChecker } from './signature-checker.ts'

/** What a worker knows when it is asked to compute. */
export interface AssignmentFacts {
  readonly checker: SignatureChecker
  /** Milliseconds since 1970. */
  readonly now: number
  /** Raw public key of the pool at the other end of the session. */
  readonly poolKey: Buffer
  /** The worker's own. */
  readonly workerKey: Buffer
  /** What the dispatch asks for. */
  readonly dispatch: {
    readonly kind: Assignment['kind']
    readonly model: string
    readonly digest: Buffer | null
    readonly choice: number
    readonly seed: Buffer
    readonly maxTokens: number
    /** Tokens of earlier segments it continues after. */
    readonly resumed: number
    readonly salt: Buffer
    readonly body: Buffer
  }
}

/**
 * Why a worker does not compute, or undefined for "go ahead". That it has not honoured the same assignment before is for the worker to
 * remember; the earlier pieces behind `prefix` it does not have.
 */
export function checkAssignment(signed: Signed<'assignment/1'>, facts: AssignmentFacts): Refusal | undefined {
  const { message: assignment, hash, signature } = signed
  const { poolKey, workerKey, now } = facts
  if (!assignment.pool.equals(sha256(poolKey))) return refuse('names another pool')
  if (!assignment.worker.equals(sha256(workerKey))) return refuse('is for another worker')
  if (!signature.key.equals(poolKey) || !facts.checker.verify(signature, hash)) {
    return refuse('is not signed by this pool')
  }
  if (assignment.expires <= now) return refuse('has expired')
  // Clocks of pool and worker may lie in neighbouring hours.
  if (Math.abs(assignment.epoch - epochOf(now)) > 1) return refuse('belongs to another hour')
  const problem = unlikeDispatch(assignment, facts.dispatch)
  return problem ? refuse(problem) : undefined
}

function unlikeDispatch(assignment: Assignment, dispatch: AssignmentFacts['dispatch']): string | undefined {
  const { digest, resumed, salt, body } = dispatch
  if (assignment.kind !== dispatch.kind) return 'is for another kind of request'
  if (!(assignment.digest?.equals(digest ?? Buffer.alloc(0)) ?? digest === null)) return 'is for another model file'
  // The client's name for it may be another than the worker's, as long as the file is the same.
  if (digest === null && assignment.model !== dispatch.model) return 'is for another model'
  if (assignment.choice !== dispatch.choice) return 'is for another choice'
  if (!assignment.seed.equals(dispatch.seed)) return 'has another seed'
  if (assignment.maxTokens !== dispatch.maxTokens) return 'allows another number of tokens'
  if (assignment.prefixTokens !== resumed) return 'continues after another number of tokens'
  if ((assignment.prefix !== null) !== resumed > 0) return 'does not say what it continues'
  if (!assignment.commitment.equals(bodyCommitment(salt, body))) return 'commits to another request body'
  return undefined
}

function refuse(problem: string): Refusal {
  return {
    code: 'assignment_refused',
    message: `The assignment ${problem}.`,
    fix: 'Nothing was computed; the pool must assign it anew.',
  }
}
