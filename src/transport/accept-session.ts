import type { WebSocket } from 'ws'
import { acceptPublicKey, type DhKey, generateDhKey, type Identity, sha256 } from '#crypto'
import { messageType, PoolError, parseWorkerId, type Refusal, type RefusalCode, type WorkerId } from '#protocol'
import { deadlineSignal, type Runtime } from '#runtime'
import { closeCode } from './close-code.ts'
import { authDeadline, FrameInbox } from './frame-inbox.ts'
import { abortable, handshakeFailed, prologue } from './handshake-frames.ts'
import { transportLimits } from './limits.ts'
import { NoiseError, NoiseHandshake } from './noise-handshake.ts'
import { NoiseSession, type SecureSession, type SessionLimits } from './secure-session.ts'
import { readSessionPayload, writePoolPayload } from './session-payload.ts'

/** A worker that has proven its identity key and asks to come in. */
export interface Peer {
  readonly publicKey: Buffer
  readonly id: WorkerId
  /** Where it comes from, behind trusted proxies; empty when unknown. */
  readonly address: string
  /** The one-time token of an invite. */
  readonly token?: Buffer
}

/** What `admit` answers; the fields beside `ok` are its own and come back as `peerPayload`. */
export type Admission = { readonly ok: true } | { readonly ok: false; readonly refusal: Refusal }

export interface AcceptOptions {
  /** Open, with no listener of its own yet. */
  readonly socket: WebSocket
  /** The client's. */
  readonly address?: string
  readonly pool: Identity
  readonly staticKey: DhKey
  readonly runtime: Runtime
  /** Decides; a thrown PoolError is told to the worker like a refusal, with close code 4500. */
  admit(peer: Peer): Promise<Admission>
  /** Whether this key was accepted before; then its curve check (1 ms) is not repeated. */
  isKnownKey?(id: WorkerId): boolean | Promise<boolean>
  readonly limits?: SessionLimits
  /** Ends a handshake that is under way; its reason is told. */
  readonly signal?: AbortSignal | undefined
  /** Why no session came of it. */
  onRefused?(code: RefusalCode): void
  onFault?: ((error: unknown) => void) | undefined
}

/** Shakes hands with a worker on an open socket. `undefined` when nothing came of it; the socket is closed then. */
export async function acceptSession(options: AcceptOptions): Promise<SecureSession | undefined> {
  const { runtime, signal, socket } = options
  const inbox = new FrameInbox(socket)
  using deadline = deadlineSignal(runtime, transportLimits.authMsMax, authDeadline, signal)
  try {
    const { session, peer } = await shakeHands(inbox, options, deadline.signal)
    return await letIn(session, peer, options, deadline.signal)
  } catch (error) {
    endHandshake(inbox, error, options)
    return undefined
  }
}

/** Close codes of handshakes that ended otherwise than by a proven worker being refused. */
const codeOf: Partial<Record<RefusalCode, number>> = {
  handshake_failed: closeCode.protocolViolation,
  auth_deadline: closeCode.authDeadline,
  shutting_down: closeCode.goingAway,
}

function endHandshake(inbox: FrameInbox, error: unknown, { onRefused, onFault }: AcceptOptions): void {
  const refusal = error instanceof NoiseError ? handshakeFailed(`The handshake failed: ${error.message}.`) : error
  const code = refusal instanceof PoolError ? refusal.code : 'internal_error'
  const closing = codeOf[code] ?? closeCode.internal
  inbox.close(closing, code)
  onRefused?.(code)
  if (closing === closeCode.internal) onFault?.(error)
}

async function shakeHands(
  inbox: FrameInbox,
  options: AcceptOptions,
  signal: AbortSignal,
): Promise<{ session: NoiseSession; peer: Peer }> {
  const { pool, runtime, staticKey, limits, onFault } = options
  const first = await inbox.next(signal) // who opens a socket and says nothing costs no key
  const noise = new NoiseHandshake({
    initiator: false,
    prologue: prologue(pool.id),
    staticKey,
    ephemeralKey: generateDhKey(runtime),
  })
  if (noise.read(first).length > 0) throw handshakeFailed('Message 1 carries a payload.')
  inbox.socket.send(noise.write((hash) => writePoolPayload(pool, hash)))
  const peer = await readWorker(noise, await inbox.next(signal), options, signal)
  const session = new NoiseSession({
    inbox,
    keys: noise.finish(),
    peer: { publicKey: peer.publicKey, id: peer.id, address: peer.address },
    runtime,
    onFault,
    ...(limits ? { limits } : {}),
  })
  return { session, peer }
}

/** The worker's proven identity out of message 3. */
async function readWorker(
  noise: NoiseHandshake,
  message: Buffer,
  { isKnownKey, address = '' }: AcceptOptions,
  signal: AbortSignal,
): Promise<Peer> {
  const payload = noise.read(message)
  const proof = readSessionPayload('worker', payload, noise.hashBeforePayload)
  const id = proof && parseWorkerId(sha256(proof.publicKey).toString('hex'))
  if (!id) throw handshakeFailed('The worker did not sign for its session key.')
  const answer = isKnownKey?.(id) ?? false
  const known = typeof answer === 'boolean' ? answer : await abortable(answer, signal)
  if (!known && !acceptPublicKey(proof.publicKey).ok) {
    throw handshakeFailed('The identity key of the worker is not acceptable.')
  }
  return { ...proof, id, address }
}

async function letIn(
  session: NoiseSession,
  peer: Peer,
  { admit, onRefused, onFault }: AcceptOptions,
  signal: AbortSignal,
): Promise<SecureSession | undefined> {
  const refuse = (refusal: Refusal, code: number) => {
    const { message, fix } = refusal
    session.send(messageType.refused, Buffer.from(JSON.stringify({ code: refusal.code, message, fix })))
    session.close(code, refusal.code)
    onRefused?.(refusal.code)
  }
  try {
    const admission = await abortable(admit(peer), signal)
    session.peerPayload = admission
    if (!admission.ok) refuse(admission.refusal, closeCode.refused)
    return session.closed ? undefined : session
  } catch (error) {
    if (!(error instanceof PoolError) || signal.aborted) throw error
    refuse(error.refusal, closeCode.internal)
    onFault?.(error)
    return undefined
  }
}
