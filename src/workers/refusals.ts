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

/** A worker broke a rule; `message` is the rule, and quotes nothing the worker sent. */
export const violation = (message: string): Refusal => ({
  code: 'protocol_violation',
  message,
  fix: 'Run the same release of lichen on both sides, or compare with spec/worker.md.',
})
