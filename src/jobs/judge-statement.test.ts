import { expect, test } from 'vitest'
import { generateIdentity, identityFromSeed, sha256 } from '#crypto'
import {
  encodeMessage,
  encodeSigned,
  SegmentHash,
  SignatureChecker,
  signBatch,
  type Token,
  TokenBatch,
  type WorkerStatement,
} from '#protocol'
import { systemRuntime } from '#runtime'
import { judgeStatement } from './judge-statement.ts'

const ann = identityFromSeed(Buffer.alloc(32, 0x61))
const tokens = ['The ', 'answer ', 'is ', '42'].map((text, id): Token => ({ id, piece: Buffer.from(text) }))
const hashOf = (sent: readonly Token[]) => {
  const hash = new SegmentHash()
  hash.add(TokenBatch.of(sent))
  return hash
}
const hash = hashOf(tokens)
const attempt = {
  assignment: sha256(Buffer.from('the assignment of this attempt')),
  prefix: sha256(Buffer.from('what another worker had sent')),
  workerId: ann.id,
  hash,
  digest: '0a'.repeat(32),
  decode: 'batched' as const,
}
const end = { promptTokens: 7, completionTokens: 4, finish: 'stop' as const }

function statement(changes: Partial<WorkerStatement> = {}, signer = ann): Buffer {
  const bytes = encodeMessage('worker-statement/1', {
    assignment: attempt.assignment,
    worker: Buffer.from(ann.id, 'hex'),
    sent: hash.digest(),
    tokens: hash.pieces,
    usage: { prompt: 7, completion: 4 },
    model: 'moss',
    digest: Buffer.from(attempt.digest, 'hex'),
    kernel: null,
    decode: 'batched',
    sampler: 'sampler/1',
    finish: 'stop',
    prefix: attempt.prefix,
    ...changes,
  })
  const [signature] = signBatch(signer, [{ type: 'worker-statement/1', bytes }])
  if (!signature) throw new Error('a batch of one has one signature')
  return encodeSigned({ bytes, signature })
}

const judge = (wire: Buffer | null, of: Partial<typeof attempt> = {}) =>
  judgeStatement({ ...end, statement: wire }, { ...attempt, ...of }, 'moss', new SignatureChecker())

test('a worker that signs for what it was asked and what it sent is believed', () => {
  expect(judge(statement())).toMatchObject({ ok: true, signed: { message: { tokens: 4 } } })
})

const swapped = hashOf([tokens[0], tokens[2], tokens[1], tokens[3]].flatMap((token) => token ?? []))
const otherId = hashOf(tokens.map((token, at) => (at === 3 ? { ...token, id: 99 } : token)))

test.each<[string, Buffer | null, RegExp]>([
  ['nothing', null, /there is none/],
  ['bytes that are none', Buffer.from('a statement'), /./],
  ['more bytes than belong to it', Buffer.concat([statement(), Buffer.of(0)]), /./],
  ['another job', statement({ assignment: Buffer.alloc(32) }), /for another assignment/],
  ['another worker', statement({ worker: Buffer.alloc(32, 1) }), /names another worker/],
  ['another model', statement({ model: 'fern' }), /names another model$/],
  ['another model file', statement({ digest: Buffer.alloc(32) }), /another model file/],
  ['no model file', statement({ digest: null }), /another model file/],
  ['another way to decode', statement({ decode: 'isolated' }), /was to be batched/],
  ['another beginning', statement({ prefix: Buffer.alloc(32) }), /from another beginning/],
  ['an answer of its own from the start', statement({ prefix: null }), /from another beginning/],
  ['another end', statement({ finish: 'length' }), /ended otherwise/],
  ['more tokens than it told', statement({ usage: { prompt: 7, completion: 5 } }), /another usage/],
  ['a longer prompt than it told', statement({ usage: { prompt: 8, completion: 4 } }), /another usage/],
  ['fewer pieces than it sent', statement({ tokens: 3 }), /another number of pieces/],
  ['pieces in another order', statement({ sent: swapped.digest() }), /other pieces/],
  ['a token that it did not send', statement({ sent: otherId.digest() }), /other pieces/],
  ['a text that it did not send', statement({ sent: hashOf(tokens.slice(0, 3)).digest() }), /other pieces/],
])('a worker that signs for %s is not', (_, wire, problem) => {
  expect(judge(wire)).toMatchObject({ ok: false, problem: expect.stringMatching(problem) })
})

test('a statement counts for one attempt: sent again with the next one, or for another piece of the answer, it is refused', () => {
  const wire = statement()
  expect(judge(wire).ok).toBe(true)
  expect(judge(wire, { assignment: sha256(Buffer.from('the next one')) })).toMatchObject({
    problem: 'it is for another assignment',
  })
  expect(judge(wire, { prefix: null as never }).ok).toBe(false)
  // nothing is due before it was assigned
  expect(judge(wire, { assignment: undefined as never }).ok).toBe(false)
})

test('nobody signs for somebody else, and a byte of it changed is no signature', () => {
  const mallory = generateIdentity(systemRuntime)
  expect(judge(statement({}, mallory))).toEqual({ ok: false, problem: 'another key signed it' })
  const asMallory = statement({ worker: Buffer.from(mallory.id, 'hex') }, mallory)
  expect(judge(asMallory)).toEqual({ ok: false, problem: 'it names another worker' })
  const wire = statement()
  for (let at = 0; at < wire.length; at++) {
    const changed = Buffer.from(wire)
    changed[at] = (changed[at] ?? 0) ^ 1
    expect(judge(changed).ok, `byte ${at}`).toBe(false)
  }
})
