import { z } from 'zod'
import { acceptPublicKey, canonicalize, leafHash, sha256, verifyInclusion } from '#crypto'
import { protocolLimits } from '../limits.ts'
import { parseJson } from '../parse-json.ts'
import { type Checkpoint, openCheckpoint } from '../signed-note.ts'
import { checkSampling } from './check-sampling.ts'
import { checkSideBySide, isSideBySide } from './check-side-by-side.ts'
import {
  type CheckResult,
  checkBill,
  checkOrderOf,
  checkResponse,
  checkVerdicts,
  checkWorkers,
  failed,
  type ReceiptProblem,
  type ReceiptProblemCode,
  short,
} from './receipt-checks.ts'
import {
  type ReceiptMessages,
  type ReceiptParts,
  readMessages,
  receiptFileSchema,
  receiptLeafData,
  receiptView,
} from './receipt-file.ts'
import { SignatureChecker } from './signature-checker.ts'

/** What a receipt is compared with. */
export interface ReceiptExpectation {
  /** The answer as received: the JSON body, or the event stream. */
  readonly response?: Buffer
  /** The pool it must come from, by raw public key. */
  readonly poolKey?: Buffer
  /** The same by id, lowercase hex. */
  readonly poolId?: string
}

export type ReceiptVerdict =
  | { readonly ok: true; readonly lines: readonly string[]; readonly problem?: undefined }
  | {
      readonly ok: false
      /** What fitted until then. */
      readonly lines: readonly string[]
      readonly problem: ReceiptProblem
    }

/**
 * Checks a receipt file with nothing but itself: form, checkpoint, place in the log, order, workers' statements, bill, view, and the response
 * when there is one. Says what was checked, one line each, and stops at the first thing that does not fit. Pure; never throws.
 */
export function verifyReceipt(bytes: Buffer, expected: ReceiptExpectation = {}): ReceiptVerdict {
  const lines: string[] = []
  for (const result of checksOf(bytes, expected)) {
    if ('problem' in result) return { ok: false, lines, problem: result.problem }
    lines.push(result.line)
  }
  return { ok: true, lines }
}

function* checksOf(bytes: Buffer, expected: ReceiptExpectation): Generator<CheckResult> {
  const file = readFile(bytes)
  if (!file.ok) return yield file.result
  const { parts, view } = file
  const messages = readMessages(parts)
  if (!messages.ok) return yield failed('malformed', messages.problem)
  const facts = { ...messages.value, poolKey: parts.poolKey, checker: new SignatureChecker() }
  if (!canonicalize(view).equals(canonicalize(receiptView(facts)))) {
    return yield failed('view_mismatch', 'The readable part of the receipt says something else than the signed bytes.')
  }
  const pool = openPool(parts, expected)
  if (!pool.ok) return yield pool.result
  yield pool.result
  if (!facts.statement.pool.equals(sha256(parts.poolKey))) {
    return yield failed('wrong_pool', "The pool's statement is that of another pool.")
  }
  const leaf = leafHash(receiptLeafData(parts.workers, parts.statement))
  yield checkLog(parts, pool.checkpoint, leaf)
  yield checkOrderOf(facts)
  yield checkWorkers(facts)
  for (const remote of parts.remote ?? []) yield checkRemote(facts, remote)
  if (isSideBySide(facts.statement)) yield checkSideBySide(facts)
  yield checkBill(facts)
  yield checkVerdicts(facts, leaf, parts.successions)
  if (parts.sampling || facts.verdicts.length > 0) yield checkSampling(parts.sampling, facts, pool.checkpoint)
  yield checkResponse(facts, expected.response)
}

/** The messages in a receipt file, unverified; undefined when it is none. */
export function readReceipt(bytes: Buffer): (ReceiptMessages & { readonly poolKey: Buffer }) | undefined {
  const file = readFile(bytes)
  const messages = file.ok ? readMessages(file.parts) : undefined
  return file.ok && messages?.ok ? { ...messages.value, poolKey: file.parts.poolKey } : undefined
}

/**
 * The receipt of a pool that computed a segment of this one: it holds by itself, it is for this pool, and it says the same as that pool's
 * statement here.
 */
function checkRemote({ workers, statement }: ReceiptMessages, bytes: Buffer): CheckResult {
  const verdict = verifyReceipt(bytes)
  if (!verdict.ok)
    return failed('remote_invalid', `The receipt of another pool does not hold: ${verdict.problem.sentence}`)
  const remote = readReceipt(bytes)
  if (!remote) throw new Error('a receipt that was verified cannot be read')
  const executor = sha256(remote.poolKey)
  const no = (why: string) => failed('remote_invalid', `The receipt of pool ${short(executor)} ${why}.`)
  if (remote.order.message.account !== `peer:${statement.pool.toString('hex')}`) return no('is not for this pool')
  const here = workers.find(({ message }) => message.worker.equals(executor))?.message
  if (!here) return no('belongs to no segment that it has signed for')
  const { usage, segments } = remote.statement
  if (usage.prompt !== here.usage.prompt || usage.completion !== here.usage.completion)
    return no('counts other tokens than it claims here')
  const [only, ...more] = remote.workers
  if (only && more.length === 0 && only.message.tokens === here.tokens && !only.message.sent.equals(here.sent))
    return no('is about other pieces than were sent here')
  const by = [...new Set(segments.map(({ worker }) => `worker ${short(worker)}`))].join(' and ')
  const line = `asked at pool ${short(statement.pool)}, computed by pool ${short(executor)} on ${by}, whose own receipt holds`
  return { line }
}

type ReadFile =
  | { readonly ok: true; readonly parts: ReceiptParts; readonly view: unknown }
  | { readonly ok: false; readonly result: CheckResult }

/** What `GET /v1/receipts/{id}` answers until there is a receipt; a script that does not look at the status saves it. */
const pendingSchema = z.object({ object: z.literal('receipt'), status: z.literal('pending') })

function readFile(bytes: Buffer): ReadFile {
  const refuse = (code: ReceiptProblemCode, sentence: string) =>
    ({ ok: false, result: failed(code, sentence) }) as const
  const json = parseJson(bytes, { ...protocolLimits, bodyBytesMax: protocolLimits.receiptBytesMax })
  if (!json.ok) return refuse('malformed', `The receipt cannot be read: ${json.refusal.message}`)
  const parsed = receiptFileSchema.safeParse(json.value)
  if (pendingSchema.safeParse(json.value).success) {
    return refuse('malformed', 'This is not the receipt yet: the pool had not settled the request when it was fetched.')
  }
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    return refuse('malformed', `The receipt is not one: ${issue?.path.join('.') || 'it'}: ${issue?.message}.`)
  }
  if (!canonicalize(json.value).equals(bytes)) {
    return refuse('not_canonical', 'The receipt is not written as canonical JSON (RFC 8785); somebody wrote it anew.')
  }
  const { pool_key: poolKey, worker: workers, view, lichen: _, ...rest } = parsed.data
  return { ok: true, parts: { ...rest, poolKey, workers }, view }
}

type OpenedPool =
  | { readonly ok: true; readonly result: CheckResult; readonly checkpoint: Checkpoint }
  | { readonly ok: false; readonly result: CheckResult }

/** Whose receipt it is: the pool whose key signed the checkpoint. */
function openPool({ poolKey, log }: ReceiptParts, { poolKey: pinned, poolId }: ReceiptExpectation): OpenedPool {
  const refuse = (code: ReceiptProblemCode, sentence: string) =>
    ({ ok: false, result: failed(code, sentence) }) as const
  if (!acceptPublicKey(poolKey).ok) return refuse('key_refused', "The pool's key is not an acceptable Ed25519 key.")
  const id = sha256(poolKey)
  if ((pinned && !pinned.equals(poolKey)) || (poolId !== undefined && poolId !== id.toString('hex'))) {
    return refuse('wrong_pool', `The receipt is of pool ${short(id)}, not of the pool you named.`)
  }
  const opened = openCheckpoint(log.checkpoint, poolKey)
  if (!opened.ok) return refuse('checkpoint_invalid', `The checkpoint does not fit: ${opened.message}`)
  const line = `signed by pool ${short(id)}, ${pinned || poolId !== undefined ? 'as pinned' : 'not pinned'}`
  return { ok: true, result: { line }, checkpoint: opened.checkpoint }
}

function checkLog({ log: { index, path } }: ReceiptParts, { size, root }: Checkpoint, leaf: Buffer): CheckResult {
  if (!verifyInclusion({ leaf, index, size, path, root })) {
    return failed('not_in_log', "The statements of pool and workers are not in the pool's log where the receipt says.")
  }
  return { line: `entry ${index + 1} of ${size} in the log under that signature` }
}
