import { protocolLimits, type Refusal } from '#protocol'
import { workersLimits } from './limits.ts'

export const busy = (why: string): Refusal => ({
  code: 'overloaded',
  message: `The chosen worker ${why}.`,
  fix: 'Try again in a moment.',
})

export const tooLong: Refusal = {
  code: 'context_length_exceeded',
  message: `The request and the answer so far exceed ${protocolLimits.messageBytesMax} bytes.`,
  fix: 'Send a shorter request.',
}

export const silent: Refusal = {
  code: 'worker_lost',
  message: 'Nothing was heard of the worker for 10 s.',
  fix: 'Look at the network between; the worker connects again by itself.',
}

export const noHello: Refusal = {
  code: 'auth_deadline',
  message: `No hello came within ${workersLimits.helloMsMax} ms.`,
  fix: 'Look at the load of the worker and at the network between.',
}

export const expired = (at: Date): Refusal => ({
  code: 'worker_expired',
  message: `This worker's key expired at ${at.toISOString()}.`,
  fix: 'Ask an operator of the pool to run `lichen workers renew` with its id.',
})

export const deadlineExceeded: Refusal = {
  code: 'deadline_exceeded',
  message: 'The answer was not finished within its time.',
  fix: 'Ask for fewer tokens, or try again when the pool is less busy.',
}

export const noSlot: Refusal = {
  code: 'overloaded',
  message: 'The chosen worker had no free slot in time.',
  fix: 'Try again in a moment.',
}

export const sessionExists: Refusal = {
  code: 'session_exists',
  message: 'This worker already has a session that answers.',
  fix: 'Stop the other program that uses the same data directory.',
}

export const replaced: Refusal = {
  code: 'session_replaced',
  message: 'A newer session of this worker took the place of this one.',
  fix: 'Stop the other program that uses the same data directory.',
}

export const shuttingDown: Refusal = {
  code: 'shutting_down',
  message: 'The pool is shutting down.',
  fix: 'Nothing: the worker connects again by itself.',
}

export const lookedTooLong: Refusal = {
  code: 'deadline_exceeded',
  message: 'The verifier did not answer within its time.',
  fix: 'Nothing: another verifier is asked.',
}

export const lostVerifier = (reason: string): Refusal => ({
  code: 'worker_lost',
  message: `The verifier is gone: ${reason}.`,
  fix: 'Nothing: another verifier is asked.',
})

export const noVerifier: Refusal = {
  code: 'no_worker',
  message: 'The chosen worker looks at nobody’s answers.',
  fix: 'Ask a worker with the feature `verify`.',
}

export const unaskable = (why: string): Refusal => ({
  code: 'invalid_request',
  message: `The check ${why}.`,
  fix: 'Ask for fewer positions, or list fewer tokens at each.',
})

export const commitmentRefused = (why: string): Refusal => ({
  code: 'commitment_refused',
  message: `The commitment of a verifier ${why}.`,
  fix: 'Nothing: its check counts for nothing, and another verifier is asked.',
})

export const evidenceRefused = (why: string): Refusal => ({
  code: 'evidence_refused',
  message: `The evidence of a verifier ${why}.`,
  fix: 'Nothing: its check counts for nothing, and another verifier is asked.',
})

export const revealRefused: Refusal = {
  code: 'reveal_refused',
  message: 'Evidence is revealed only after the commitment to it.',
  fix: 'Nothing: the check is made again by another verifier.',
}

/** A worker broke a rule; `message` is the rule, and quotes nothing the worker sent. */
export const violation = (message: string): Refusal => ({
  code: 'protocol_violation',
  message,
  fix: 'Run the same release of lichen on both sides, or compare with spec/worker.md.',
})
