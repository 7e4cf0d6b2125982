import { expect, test } from 'vitest'
import {
  alice,
  bob,
  pool,
  sampleAssignment,
  sampleBody,
  sampleSalt,
  sampleTime,
  signAlone,
} from '../../testkit/receipt-sample.ts'
import { type AssignmentFacts, checkAssignment } from './check-assignment.ts'
import type { Assignment } from './messages.ts'
import { SignatureChecker } from './signature-checker.ts'

const dispatch: AssignmentFacts['dispatch'] = {
  kind: 'chat',
  model: 'demo',
  digest: Buffer.alloc(32, 2),
  choice: 0,
  seed: Buffer.alloc(32, 3),
  maxTokens: 64,
  resumed: 0,
  salt: sampleSalt,
  body: sampleBody,
}
const facts = {
  checker: new SignatureChecker(),
  now: sampleTime,
  poolKey: pool.publicKey,
  workerKey: bob.publicKey,
  dispatch,
}

test('a worker computes what its pool assigned to it', () => {
  expect(checkAssignment(signAlone(pool, 'assignment/1', sampleAssignment()), facts)).toBeUndefined()
  const takeover = sampleAssignment({ prefix: Buffer.alloc(32, 8), prefixTokens: 5, digest: null })
  const resumed = { ...facts, dispatch: { ...dispatch, resumed: 5, digest: null } }
  expect(checkAssignment(signAlone(pool, 'assignment/1', takeover), resumed)).toBeUndefined()
})

test('the client’s name for a model may be another than the worker’s when the file is the same', () => {
  const named = (digest: Buffer | null) => {
    const renamed = signAlone(pool, 'assignment/1', sampleAssignment({ model: 'large', digest }))
    return checkAssignment(renamed, { ...facts, dispatch: { ...dispatch, digest } })
  }
  expect(named(dispatch.digest)).toBeUndefined()
  expect(named(null)).toMatchObject({ message: 'The assignment is for another model.' })
})

const refusals: [string, Partial<Assignment>][] = [
  ['names another pool', { pool: Buffer.alloc(32) }],
  ['is for another worker', { worker: Buffer.alloc(32) }],
  ['has expired', { expires: sampleTime }],
  ['belongs to another hour', { epoch: 1 }],
  ['is for another kind of request', { kind: 'embedding' }],
  ['is for another model file', { digest: null }],
  ['is for another choice', { choice: 1 }],
  ['has another seed', { seed: Buffer.alloc(32) }],
  ['allows another number of tokens', { maxTokens: 65 }],
  ['continues after another number of tokens', { prefixTokens: 3 }],
  ['does not say what it continues', { prefix: Buffer.alloc(32) }],
  ['commits to another request body', { commitment: Buffer.alloc(32) }],
]

test.each(refusals)('a worker does not compute when the assignment %s', (problem, changes) => {
  const refusal = checkAssignment(signAlone(pool, 'assignment/1', sampleAssignment(changes)), facts)
  expect(refusal).toMatchObject({ code: 'assignment_refused', message: `The assignment ${problem}.` })
})

test('an assignment that somebody else signed is refused', () => {
  expect(checkAssignment(signAlone(alice, 'assignment/1', sampleAssignment()), facts)).toMatchObject({
    message: 'The assignment is not signed by this pool.',
  })
})
