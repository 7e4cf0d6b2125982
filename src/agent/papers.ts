import { sha256 } from '#crypto'
import {
  type Assignment,
  BatchSigner,
  checkAssignment,
  commitmentOf,
  type DispatchHeader,
  decodeSigned,
  encodeOwnMessage,
  encodeSigned,
  payerSignatureRequired,
  type Refusal,
  SignatureChecker,
  type Signed,
  type Signer,
  type WorkerStatement,
} from '#protocol'
import type { Runtime } from '#runtime'
import type { Papers } from '#workers'
import { agentLimits } from './limits.ts'

/** A dispatch whose papers are in order, or why nothing is computed. */
export type Verdict =
  | { readonly ok: true; readonly assignment: Signed<'assignment/1'> }
  | { readonly ok: false; readonly refusal: Refusal }

/** What the worker says of one segment, besides who and for what it was. */
export type Computed = Pick<WorkerStatement, 'sent' | 'tokens' | 'usage' | 'kernel' | 'sampler' | 'finish'>

/**
 * The papers of one worker: it computes only what its pool has signed, each assignment once, and signs for what it sent. Lives longer
 * than a session, or a reconnect would make an assignment good again.
 */
export class PaperDesk {
  readonly #identity: Signer
  readonly #runtime: Runtime
  readonly #signer: BatchSigner
  readonly #checker = new SignatureChecker()
  readonly #requirePayer: boolean
  /** Hashes of honoured assignments, oldest first, and when each expires. */
  readonly #honoured = new Map<string, number>()

  constructor(identity: Signer, runtime: Runtime, options: { readonly requirePayerSignature: boolean }) {
    this.#identity = identity
    this.#runtime = runtime
    this.#signer = new BatchSigner(identity)
    this.#requirePayer = options.requirePayerSignature
  }

  /** Decides, and remembers what it has let pass. */
  admit(header: DispatchHeader, papers: Papers, body: Buffer, poolKey: Buffer): Verdict {
    const decoded = decodeSigned(papers.assignment, 'assignment/1')
    if (!decoded.ok) return refused(`cannot be read: ${decoded.problem}`)
    const { signed } = decoded
    const now = this.#runtime.now()
    const refusal = checkAssignment(signed, {
      checker: this.#checker,
      now,
      poolKey,
      workerKey: this.#identity.publicKey,
      dispatch: {
        kind: header.kind,
        model: header.model,
        digest: header.digest === null ? null : Buffer.from(header.digest, 'hex'),
        choice: header.choice,
        seed: Buffer.from(header.seed, 'hex'),
        maxTokens: header.maxTokens,
        resumed: header.resume.length,
        salt: papers.salt,
        body,
      },
    })
    if (refusal) return { ok: false, refusal }
    const wrong = this.#requirePayer ? this.#payerProblem(signed.message, papers.order) : undefined
    if (wrong) return { ok: false, refusal: wrong }
    return this.#firstTime(signed, now) ? { ok: true, assignment: signed } : refused('was honoured before')
  }

  /** The signed statement in wire form. Statements of one turn of the event loop share a signature. */
  async attest({ message, hash }: Signed<'assignment/1'>, computed: Computed): Promise<Buffer> {
    const { model, digest, decode, prefix } = message
    const statement: WorkerStatement = {
      assignment: hash,
      worker: sha256(this.#identity.publicKey),
      model,
      digest,
      decode,
      prefix,
      ...computed,
    }
    const bytes = encodeOwnMessage('worker-statement/1', statement)
    return encodeSigned({ bytes, signature: await this.#signer.sign('worker-statement/1', bytes) })
  }

  /** The signed commitment to what a check found, in wire form. */
  async commit(found: { readonly check: string; readonly nonce: Buffer; readonly evidence: Buffer }): Promise<Buffer> {
    const worker = sha256(this.#identity.publicKey)
    const message = { check: found.check, worker, commitment: commitmentOf({ ...found, worker }) }
    const bytes = encodeOwnMessage('commitment/1', message)
    return encodeSigned({ bytes, signature: await this.#signer.sign('commitment/1', bytes) })
  }

  #payerProblem(assignment: Assignment, wire: Buffer | null): Refusal | undefined {
    const order = wire && decodeSigned(wire, 'order/1')
    if (!order?.ok || order.signed.message.custody !== 'payer') return payerSignatureRequired()
    const { hash, signature, message } = order.signed
    const good = signature.key.equals(message.payer) && this.#checker.verify(signature, hash)
    return good && hash.equals(assignment.order) ? undefined : payerSignatureRequired()
  }

  #firstTime({ hash, message }: Signed<'assignment/1'>, now: number): boolean {
    const name = hash.toString('latin1')
    if (this.#honoured.has(name)) return false
    for (const [old, expires] of this.#honoured) {
      if (expires > now && this.#honoured.size < agentLimits.assignmentsRememberedMax) break
      this.#honoured.delete(old)
    }
    this.#honoured.set(name, message.expires)
    return true
  }
}

const refused = (problem: string): Verdict => ({
  ok: false,
  refusal: {
    code: 'assignment_refused',
    message: `The assignment ${problem}.`,
    fix: 'Nothing was computed; the pool must assign it anew.',
  },
})
