import { expect, test } from 'vitest'
import { sha256 } from '#crypto'
import {
  commitmentOf,
  encodeEvidence,
  encodeMessage,
  encodeSigned,
  messageType,
  signBatch,
  uuidOf,
  type WorkerId,
} from '#protocol'
import { sessionPair, simulatedRuntime, testWorker } from '#testkit'
import {
  decodePoolMessage,
  encodeCommitted,
  encodeEvidenceMessage,
  encodeHeartbeat,
  encodeHello,
  Workers,
} from '#workers'
import { seededNumbers } from '../../tools/demo-model/seeded-numbers.ts'
import { areaUnderCurve, boosted } from '../testkit/classifier.ts'
import { KnownPace, knownBadOf } from './known-later.ts'
import { type LookWish, lookThrough } from './look-at.ts'
import type { KeptAnswer } from './transcript.ts'
import { VerifierIndex } from './verifier-index.ts'

/** What a verifier is sent: real answers, and known ones among them. */
type Kind = 'real' | 'known_good' | 'known_bad'

/** One check as a verifier can see it, contents left out. */
interface Seen {
  kind: Kind
  /** Names of the header's fields, in order; and the values that are no numbers. */
  readonly form: string
  readonly features: number[]
}

const verifier = testWorker.id as WorkerId
const file = 'f1'.repeat(32)
const never = new AbortController().signal

function someAnswer(random: () => number): KeptAnswer {
  const text = (chars: number) => Array.from({ length: chars }, () => String.fromCharCode(97 + 26 * random())).join('')
  const messages = [{ role: 'user', content: text(Math.ceil(20 * 10 ** (2 * random()))) }]
  const tokens = Array.from({ length: 4 + Math.floor(40 * random()) }, () => ({
    id: Math.floor(32_000 * random()),
    piece: Buffer.from(text(1 + 6 * random())),
  }))
  return {
    kind: 'chat',
    model: 'moss',
    digest: file,
    choice: 0,
    seed: sha256(Buffer.from(`${random()}`)).toString('hex'),
    maxTokens: 1_024,
    contextTokens: 4_096,
    decode: 'batched',
    finish: 'stop',
    promptClaim: 9,
    body: Buffer.from(JSON.stringify({ model: 'moss', messages })),
    tokens,
  }
}

/** A verifier that writes down when what came; it looks for a millisecond at each token. */
function openVerifier(runtime: ReturnType<typeof simulatedRuntime>) {
  const workers = new Workers({ runtime })
  const pair = sessionPair(testWorker)
  workers.attach(pair.pool, { standing: 'approved', expiresAt: null, operator: 'op' })
  const features = ['chat' as const]
  const models = [{ name: 'moss', digest: file, engine: 'llama' as const, contextTokens: 4_096, features }]
  pair.worker.send(messageType.hello, encodeHello({ agent: 'v', features: ['verify'], slots: 1, models }))
  const seen = new Map<string, Seen>()
  const committedAt = new Map<string, number>()
  const nonce = Buffer.alloc(32, 1)
  const evidenceOf = new Map<string, Buffer>()
  let open = 0
  let lastAt = 0
  let gapBefore = 0
  const look = (body: Buffer): void => {
    const decoded = decodePoolMessage(messageType.check, body)
    if (!decoded.ok || decoded.message.say !== 'check') throw new Error('not a check')
    const { header, tokens } = decoded.message
    const { check, model: _, digest: __, seed: ___, ...rest } = header
    const numbers = Object.entries(rest).flatMap(([, value]) => (typeof value === 'number' ? [value] : []))
    const words = Object.entries(rest).filter(([, value]) => typeof value !== 'number')
    const now = runtime.monotonic()
    const gap = Math.log(1 + now - lastAt)
    const features = [body.length, tokens.length, body.readUInt32BE(0), open++, gap, gapBefore, ...numbers]
    gapBefore = gap
    lastAt = now
    seen.set(check, { kind: 'real', form: JSON.stringify([Object.keys(header), words]), features })
    runtime.after(tokens.length, () => commit(check, tokens.length))
  }
  const commit = (check: string, tokens: number): void => {
    const token = { id: 0, logit: 0, noise: 0 }
    const positions = Array.from({ length: tokens }, (_, position) => {
      return { position, chosen: token, choice: token, margin: 0, top: [] }
    })
    const evidence = encodeEvidence({
      method: 'replay',
      promptTokens: 9,
      completionTokens: tokens,
      wrongPieces: [],
      unknownAt: undefined,
      positions,
      ending: { shown: 'length', end: undefined },
      logitsHash: undefined,
    })
    evidenceOf.set(check, evidence)
    const worker = Buffer.from(verifier, 'hex')
    const message = { check, worker, commitment: commitmentOf({ check, worker, nonce, evidence }) }
    const bytes = encodeMessage('commitment/1', message)
    const [signature] = signBatch(testWorker, [{ type: 'commitment/1', bytes }])
    if (signature) pair.worker.send(messageType.committed, encodeCommitted(check, encodeSigned({ bytes, signature })))
    committedAt.set(check, runtime.monotonic())
  }
  pair.worker.onMessage = (type, body) => {
    if (type === messageType.ping) pair.worker.send(messageType.heartbeat, encodeHeartbeat(0))
    if (type === messageType.check) look(body)
    if (type !== messageType.reveal) return
    const check = uuidOf(body)
    open--
    seen.get(check)?.features.push(runtime.monotonic() - (committedAt.get(check) ?? 0))
    const evidence = evidenceOf.get(check)
    if (evidence) pair.worker.send(messageType.evidence, encodeEvidenceMessage(check, nonce, evidence))
    evidenceOf.delete(check)
  }
  return { workers, seen }
}

/**
 * What the only verifier of a pool sees of so many checks that come at random, one a second. Of both kinds of known answers there is
 * one for every third check, not for every tenth, so that there are enough of them soon. `behind`: they are sent at once.
 */
async function play(checks: number, behind: boolean): Promise<Seen[]> {
  const runtime = simulatedRuntime(5)
  const random = seededNumbers(11)
  const { workers, seen } = openVerifier(runtime)
  await runtime.pass(0)
  const index = new VerifierIndex(() => true)
  for (const worker of workers.list()) index.put(worker)
  const kept: KeptAnswer[] = []
  const answers = Array.from({ length: 512 }, () => someAnswer(random))
  const kinds = new Map<string, Kind>()
  const open = new Set<Promise<unknown>>()
  const send = (kind: Kind, answer: KeptAnswer, n: number, onStage?: LookWish['onStage']): Promise<unknown> => {
    const verifiers = {
      check: (id: string, ask: Parameters<Workers['check']>[1], signal: AbortSignal) => {
        const run = workers.check(id as WorkerId, ask, signal)
        kinds.set(run.id, kind)
        return run
      },
    }
    const by = { worker: verifier, operator: 'op' }
    const sample = { epochKey: Buffer.alloc(32, 1), statementHash: sha256(Buffer.from(`${n}`)) }
    const wish: LookWish = { checkId: '', purpose: 'first', by, answer, sample, ...(onStage ? { onStage } : {}) }
    const look = lookThrough({ runtime, verifiers, index }, wish, never)
      .catch(() => undefined) // more than it takes at once
      .finally(() => open.delete(look))
    open.add(look)
    return look
  }
  const pace = new KnownPace(random)
  const sendKnown = ({ kind, n }: { kind: Kind; n: number }): void => {
    const good = kept[Math.floor(random() * kept.length)]
    const answer = good && kind === 'known_bad' ? knownBadOf(good) : good
    if (answer) void send(kind, answer, n)
  }
  for (let n = 0; n < checks; n++) {
    await runtime.pass(-1_000 * Math.log(1 - random()))
    pace.begun(runtime.monotonic())
    const answer = answers[n % answers.length] as KeptAnswer
    kept.push(answer)
    if (kept.length > 32) kept.shift()
    const kind = (['real', 'known_good', 'known_bad'] as const)[Math.floor(3 * random())] ?? 'real'
    // The pool writes to its tables before and after; of known answers it does not.
    const look = send('real', answer, n, () => runtime.sleep(30 * random()))
    if (kind === 'real') continue
    void look.then(() =>
      behind ? sendKnown({ kind, n }) : runtime.after(pace.delayMs(), () => sendKnown({ kind, n })),
    )
  }
  while (open.size > 0) await runtime.pass(1_000)
  workers.close()
  const whole = [...seen.values()].map(({ features }) => features.length)
  const length = Math.max(...whole)
  return [...seen].flatMap(([id, one]) => {
    return one.features.length === length ? [{ ...one, kind: kinds.get(id) ?? 'real' }] : []
  })
}

/** How well a classifier that learned on one half tells the other half apart: 0.5 = not at all. */
function told(seen: readonly Seen[], kind: Kind): { auc: number; of: number } {
  const rows = seen.filter((one) => one.kind === 'real' || one.kind === kind)
  const cases = rows.map((one) => ({ features: one.features, is: one.kind === kind }))
  const classify = boosted(cases.filter((_, n) => n % 2 === 0))
  const others = cases.filter((_, n) => n % 2 === 1)
  const scores = others.map(({ features, is }) => ({ score: classify(features), is }))
  return { auc: areaUnderCurve(scores), of: cases.filter(({ is }) => is).length }
}

test('a verifier cannot tell known answers from real ones by form, size, order or time', async () => {
  const seen = await play(6_500, false)
  expect(new Set(seen.map(({ form }) => form)).size).toBe(1)
  for (const kind of ['known_good', 'known_bad'] as const) {
    const { auc, of } = told(seen, kind)
    expect(of).toBeGreaterThanOrEqual(2_000)
    expect(auc).toBeLessThan(0.55)
  }
}, 180_000)

test('the same classifier tells those that come right behind a real one', async () => {
  const seen = await play(800, true)
  expect(told(seen, 'known_bad').auc).toBeGreaterThan(0.8)
})
