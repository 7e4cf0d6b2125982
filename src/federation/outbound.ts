import { lookup } from 'node:dns/promises'
import type { IncomingMessage } from 'node:http'
import { type Identity, type PublicKeyHandle, sha256, verifySignature } from '#crypto'
import { type PoolId, parseJson } from '#protocol'
import type { Runtime } from '#runtime'
import { answerBytes, type EnvelopeVersion, envelopeHeaders, signEnvelope } from './envelope.ts'
import { type KillSwitch, type WhyOff, whyOffText } from './kill-switch.ts'
import { federationLimits } from './limits.ts'
import { Sockets } from './outbound-socket.ts'
import { checkPeerUrl, type UrlPolicy, whyNotCalled } from './peer-url.ts'

/** A pool that is called. */
export interface Callee {
  readonly url: string
  /** Who must answer; absent while nobody knows (the first look at `info`): then the call is unsigned. */
  readonly known?: { readonly id: PoolId; readonly key: PublicKeyHandle | Buffer; readonly version: EnvelopeVersion }
}

export interface Ask {
  readonly method: 'GET' | 'POST'
  /** Path, and a query where version 2 is spoken. */
  readonly target: string
  /** JSON; nothing on a GET. */
  readonly body?: object
  readonly hop?: number
  readonly chain?: readonly PoolId[]
  /** Everything together, milliseconds. */
  readonly msMax?: number
  /** Until the answer begins, milliseconds, the look at its name and the way there included; the whole time when absent. */
  readonly headMsMax?: number
  /** Silence of the other side from then on, milliseconds; the whole time when absent. */
  readonly silenceMsMax?: number
  readonly answerBytesMax?: number
  readonly signal?: AbortSignal
}

export type NotCalledCode =
  /** This pool calls nobody: it was switched off, or cannot know whether it was. */
  | WhyOff
  | 'revoked'
  | 'url_refused'
  | 'unreachable'
  /** No answer has begun in time, or it went silent. */
  | 'timeout'
  /** The time for everything together was over; whether the other side was there it does not say. */
  | 'out_of_time'
  | 'cancelled'
  | 'redirected'
  | 'answer_encoded'
  | 'answer_too_large'
  | 'answer_malformed'
  /** A signature that should be there is missing or wrong: somebody else answers, or an answer was changed. */
  | 'answer_forged'
  /** It said no, with this status. */
  | 'refused'

export interface NotCalled {
  readonly ok: false
  readonly code: NotCalledCode
  readonly message: string
  readonly status?: number
  readonly retryAfterS?: number
}

/** An answer that begins. Reading `pieces` to the end, or leaving it, ends the call. */
export interface Opened {
  readonly ok: true
  readonly status: number
  readonly contentType: string
  readonly header: (name: string) => string | undefined
  readonly pieces: AsyncGenerator<Buffer, void>
  /** sha256 of the signed bytes of the request: what the answer is bound to; empty where the call was unsigned. */
  readonly requestHash: Buffer
  /** The address that answers. */
  readonly address: string
}

export interface Called {
  readonly ok: true
  readonly status: number
  /** The strict JSON of the answer. */
  readonly body: unknown
  readonly bytes: Buffer
  /** Its signature held: the other side speaks version 2. */
  readonly signed: boolean
  readonly tookMs: number
}

export interface OutboundOptions {
  readonly identity: Pick<Identity, 'id' | 'sign'>
  readonly runtime: Runtime
  readonly killSwitch: KillSwitch
  readonly policy: UrlPolicy
  /** `abort` is called once this pool is revoked, also when it is already. The result forgets it. */
  readonly whileTrusted?: (id: PoolId, abort: () => void) => () => void
  /** A pool of version 2 has answered from this address under its signature. */
  readonly onSigned?: (id: PoolId, address: string) => void
  /** All addresses of a name. */
  readonly resolve?: ((host: string) => Promise<readonly string[]>) | undefined
}

class CutShort extends Error {
  readonly code: NotCalledCode
  readonly more: Pick<NotCalled, 'status' | 'retryAfterS'>
  constructor(code: NotCalledCode, message: string, more: Pick<NotCalled, 'status' | 'retryAfterS'> = {}) {
    super(message)
    this.code = code
    this.more = more
  }
}

const resolveAll = async (host: string) => (await lookup(host, { all: true })).map(({ address }) => address)
const { callMsMax, answerBytesMax } = federationLimits

/**
 * The one way out: whatever this pool asks another one goes through {@link Outbound.open}, so that nothing is sent while the kill switch is
 * on, to an address that was not judged, over a redirect, without an end, or unsigned where a signature is due.
 */
export class Outbound implements Disposable {
  readonly #options: OutboundOptions
  readonly #sockets = new Sockets()

  constructor(options: OutboundOptions) {
    this.#options = options
  }

  [Symbol.dispose](): void {
    this.#sockets[Symbol.dispose]()
  }

  /** One question and its whole answer. Of a version 2 peer only a signed one counts. Never rejects. */
  async call(to: Callee, ask: Ask): Promise<Called | NotCalled> {
    const since = this.#options.runtime.monotonic()
    const opened = await this.open(to, ask)
    if (!opened.ok) return opened
    const parts: Buffer[] = []
    try {
      for await (const part of opened.pieces) parts.push(part)
    } catch (error) {
      return notCalled(error)
    }
    const bytes = Buffer.concat(parts)
    const signed = this.#isSigned(to, opened, bytes)
    if (signed && to.known) this.#options.onSigned?.(to.known.id, opened.address)
    if (opened.status < 200 || opened.status > 299) return saidNo(opened, bytes)
    if (to.known?.version === 2 && !signed)
      return no('answer_forged', 'The answer is not signed by the pool that was asked.')
    const json = parseJson(bytes, { bodyBytesMax: ask.answerBytesMax ?? answerBytesMax, jsonDepthMax: 32 })
    if (!json.ok) return no('answer_malformed', 'The answer is no strict JSON.')
    const tookMs = this.#options.runtime.monotonic() - since
    return { ok: true, status: opened.status, body: json.value, bytes, signed, tookMs }
  }

  /** Sends, and gives the answer as it comes. Never rejects; `pieces` throws what {@link notCalled} reads. */
  async open(to: Callee, ask: Ask): Promise<Opened | NotCalled> {
    const { runtime, killSwitch, whileTrusted } = this.#options
    const ending = new AbortController()
    const cut = (code: NotCalledCode, message: string) => ending.abort(new CutShort(code, message))
    const cancel = () => cut('cancelled', 'The call was given up.')
    const msMax = ask.msMax ?? callMsMax
    const timer = runtime.after(msMax, () => cut('out_of_time', `No whole answer within ${msMax} ms.`))
    const { headMsMax } = ask
    const head =
      headMsMax === undefined
        ? undefined
        : runtime.after(headMsMax, () => cut('timeout', `No answer has begun within ${headMsMax} ms.`))
    // registered before the question, so that a flip in between is not missed
    const forget = killSwitch.register((why) => cut(why, whyOffText[why]))
    const trusted = to.known && whileTrusted?.(to.known.id, () => cut('revoked', 'The pool is revoked.'))
    ask.signal?.addEventListener('abort', cancel, { once: true })
    const close = () => {
      timer.cancel()
      head?.cancel()
      forget()
      trusted?.()
      ask.signal?.removeEventListener('abort', cancel)
    }
    try {
      if (ask.signal?.aborted) cancel()
      ending.signal.throwIfAborted()
      const off = await killSwitch.whyOff()
      if (off) throw new CutShort(off, whyOffText[off])
      const place = await beforeEnd(this.#place(to.url), ending.signal)
      const { headers, body, requestHash } = this.#sign(to, ask)
      const way = { ...place, method: ask.method, target: ask.target, headers, body }
      const response = await this.#sockets.send(way, ending.signal)
      head?.cancel()
      response.on('error', () => {}) // the reader of `pieces` is told
      whyNotRead(response, ask.answerBytesMax ?? answerBytesMax)
      const stop = () => {
        response.destroy(ending.signal.reason)
        close()
      }
      ending.signal.addEventListener('abort', stop, { once: true })
      const header = (name: string) => textOf(response.headers[name])
      const contentType = header('content-type') ?? ''
      const pieces = this.#pieces(response, ask, ending, close)
      const { address } = place
      return { ok: true, status: response.statusCode ?? 0, contentType, header, pieces, requestHash, address }
    } catch (error) {
      const reason = ending.signal.aborted ? ending.signal.reason : error
      cancel()
      close()
      return notCalled(reason)
    }
  }

  /** The address of this URL that is connected to: judged now, and pinned. */
  async #place(url: string): Promise<{ origin: string; address: string }> {
    const { policy, resolve = resolveAll } = this.#options
    const first = checkPeerUrl(url, policy)
    if (!first.ok) throw new CutShort('url_refused', `The URL may not be called: ${whyNotCalled(first.code)}.`)
    const addresses = first.addresses ?? (await resolve(first.host))
    const checked = checkPeerUrl(url, policy, addresses)
    const [address] = checked.ok ? (checked.addresses ?? []) : []
    if (!checked.ok || address === undefined) {
      const why = whyNotCalled(checked.ok ? 'no_address' : checked.code)
      throw new CutShort('url_refused', `The URL may not be called: ${why}.`)
    }
    return { origin: checked.origin, address }
  }

  #sign({ known }: Callee, { method, target, body: json, hop, chain }: Ask) {
    const { identity, runtime } = this.#options
    const body = json === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(json))
    const contentType = json === undefined ? '' : 'application/json'
    const plain = { 'accept-encoding': 'identity', ...(contentType ? { 'content-type': contentType } : {}) }
    if (!known) return { headers: plain, body, requestHash: Buffer.alloc(0) }
    const { headers, signedBytes } = signEnvelope(identity, {
      version: known.version,
      audience: known.id,
      method,
      target,
      contentType,
      body,
      timestamp: Math.floor(runtime.now() / 1_000),
      nonce: runtime.randomBytes(8).toString('hex'),
      ...(hop === undefined ? {} : { hop }),
      ...(chain ? { chain } : {}),
    })
    return { headers: { ...plain, ...headers }, body, requestHash: sha256(signedBytes) }
  }

  async *#pieces(
    response: IncomingMessage,
    { silenceMsMax, answerBytesMax: most = answerBytesMax }: Ask,
    ending: AbortController,
    close: () => void,
  ): AsyncGenerator<Buffer, void> {
    const { runtime } = this.#options
    const listen = () =>
      silenceMsMax === undefined
        ? undefined
        : runtime.after(silenceMsMax, () => ending.abort(new CutShort('timeout', `Silent for ${silenceMsMax} ms.`)))
    let silence = listen()
    let left = most
    try {
      if (ending.signal.aborted) throw ending.signal.reason
      for await (const piece of response as AsyncIterable<Buffer>) {
        silence?.cancel()
        left -= piece.length
        if (left < 0) throw new CutShort('answer_too_large', `The answer has more than ${most} bytes.`)
        yield piece
        silence = listen()
      }
    } catch (error) {
      throw ending.signal.aborted ? ending.signal.reason : error
    } finally {
      silence?.cancel()
      response.destroy()
      close()
    }
  }

  #isSigned({ known }: Callee, { requestHash, status, contentType, header }: Opened, body: Buffer): boolean {
    if (known?.version !== 2 || header(envelopeHeaders.version) !== '2') return false
    const signature = Buffer.from(header(envelopeHeaders.signature) ?? '', 'base64')
    const parts = { responder: known.id, asker: this.#options.identity.id, requestHash, status, contentType, body }
    return signature.length === 64 && verifySignature(known.key, answerBytes(parts), signature)
  }
}

const no = (code: NotCalledCode, message: string): NotCalled => ({ ok: false, code, message })

/** What broke while an answer was read, as a value. */
export function notCalled(error: unknown): NotCalled {
  if (error instanceof CutShort) return { ...no(error.code, error.message), ...error.more }
  const why = error instanceof Error ? error.message : String(error)
  return no('unreachable', `It cannot be reached: ${why.replace(/\.$/, '')}.`)
}

/** The other side refuses: with the words it has for that, cut where a person has read enough. */
function saidNo({ status, header }: Opened, bytes: Buffer): NotCalled {
  const json = parseJson(bytes, { bodyBytesMax: answerBytesMax, jsonDepthMax: 32 })
  const said =
    json.ok && typeof json.value === 'object' && json.value !== null && 'error' in json.value ? json.value.error : ''
  const words = typeof said === 'string' && said !== '' ? said.slice(0, 200) : `It answered with status ${status}.`
  const after = Number(header('retry-after') ?? 'none')
  return {
    ...no('refused', words),
    status,
    ...(Number.isSafeInteger(after) && after >= 0 ? { retryAfterS: after } : {}),
  }
}

function whyNotRead(response: IncomingMessage, bytesMax: number): void {
  const { statusCode = 0, headers } = response
  const why =
    statusCode >= 300 && statusCode < 400
      ? new CutShort('redirected', 'It answered with a redirect, which is not followed.', { status: statusCode })
      : !/^\s*identity\s*$/i.test(headers['content-encoding'] ?? 'identity')
        ? new CutShort('answer_encoded', 'The answer is compressed, which was not asked for.')
        : Number(headers['content-length'] ?? 0) > bytesMax
          ? new CutShort('answer_too_large', `The answer has more than ${bytesMax} bytes.`)
          : undefined
  if (!why) return
  response.destroy()
  throw why
}

const textOf = (value: string | string[] | undefined) => (Array.isArray(value) ? value.join(',') : value)

/** What `promise` gives, unless the end comes first. */
function beforeEnd<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const ended = () => reject(signal.reason)
    if (signal.aborted) return ended()
    signal.addEventListener('abort', ended, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', ended))
  })
}
