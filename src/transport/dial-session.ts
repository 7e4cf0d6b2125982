import { WebSocket } from 'ws'
import { acceptPublicKey, type DhKey, generateDhKey, type Identity, sha256 } from '#crypto'
import { PoolError, type PoolId, protocolLimits } from '#protocol'
import { deadlineSignal, type Runtime } from '#runtime'
import { authDeadline, FrameInbox } from './frame-inbox.ts'
import { abortable, handshakeFailed, prologue, sessionPath, subprotocol } from './handshake-frames.ts'
import { transportLimits } from './limits.ts'
import { NoiseError, NoiseHandshake } from './noise-handshake.ts'
import { NoiseSession, type SecureSession } from './secure-session.ts'
import { readSessionPayload, writeWorkerPayload } from './session-payload.ts'

export interface DialOptions {
  /** The pool's address as in the invite: http(s) or ws(s), with or without a path before `/v1`. */
  readonly url: string
  readonly poolId: PoolId
  readonly identity: Identity
  readonly staticKey: DhKey
  /** The invite's one-time token; it travels only inside message 3, after the pool proved its PoolId. */
  readonly token?: Buffer | undefined
  readonly runtime: Runtime
  /** Stops dialling; a session that was returned is closed by its owner. */
  readonly signal?: AbortSignal | undefined
  readonly onFault?: (error: unknown) => void
}

/**
 * Dials the pool and proves both sides. The pool has not answered yet when this resolves: its first message is `welcome`, or
 * `refused`. Rejects with the signal's reason, or a PoolError: pool_unreachable, unsupported_protocol, too_many_sockets,
 * shutting_down, handshake_failed, wrong_pool, auth_deadline.
 */
export async function dialSession(options: DialOptions): Promise<SecureSession> {
  const { runtime, signal } = options
  signal?.throwIfAborted()
  const socket = openSocket(options.url)
  const inbox = new FrameInbox(socket)
  try {
    await openInTime(socket, options)
    using deadline = deadlineSignal(runtime, transportLimits.authMsMax, authDeadline, signal)
    return await shakeHands(inbox, options, deadline.signal)
  } catch (error) {
    socket.terminate()
    throw error
  }
}

/** `wss://host/prefix/v1/workers/session` of `https://host/prefix`. Throws config_invalid on what is no such address. */
export function sessionUrl(poolUrl: string): string {
  const url = URL.parse(poolUrl)
  const scheme = url && { 'http:': 'ws:', 'https:': 'wss:', 'ws:': 'ws:', 'wss:': 'wss:' }[url.protocol]
  if (!url || !scheme) {
    throw new PoolError(
      'config_invalid',
      'The address of the pool is not an http or https URL.',
      'Use an address like https://pool.example:5424.',
    )
  }
  return `${scheme}//${url.host}${url.pathname.replace(/\/+$/, '')}${sessionPath}`
}

function openSocket(url: string): WebSocket {
  // closeTimeout and maxFragments are options of ws that its type definitions do not list yet
  const options = {
    perMessageDeflate: false,
    maxPayload: protocolLimits.frameBytesMax,
    closeTimeout: transportLimits.closeMsMax,
    maxFragments: transportLimits.framePiecesMax,
  }
  return new WebSocket(sessionUrl(url), [subprotocol], options)
}

/** More patient than the handshake: thousands may stand before the door of a pool that was restarted, and each has a turn. */
async function openInTime(socket: WebSocket, { runtime, signal, url }: DialOptions): Promise<void> {
  const late = () => unreachable(url, 'it did not answer in time')
  using deadline = deadlineSignal(runtime, transportLimits.openMsMax, late, signal)
  await abortable(opened(socket, url), deadline.signal)
}

/** Resolves when the WebSocket is open; rejects with what the operator should know. */
function opened(socket: WebSocket, url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('open', () => resolve())
    socket.once('error', (error) => reject(unreachable(url, error.message)))
    socket.once('unexpected-response', (request, response) => {
      request.destroy()
      reject(refusedUpgrade(url, response.statusCode ?? 0, response.headers['retry-after']))
    })
  })
}

function unreachable(url: string, why: string): PoolError {
  return new PoolError(
    'pool_unreachable',
    `No pool could be reached at ${URL.parse(url)?.host}: ${why}.`,
    'Check the address, that the pool is running, and that a firewall lets you out.',
  )
}

function refusedUpgrade(url: string, status: number, retryAfter: string | undefined): PoolError {
  const seconds = Number(retryAfter)
  const retry = seconds > 0 && seconds < 3_600 ? { retryAfterMs: seconds * 1_000 } : {}
  if (status === 429) {
    return new PoolError('too_many_sockets', 'The pool has too many connections from here.', 'Try again later.', retry)
  }
  if (status === 503) {
    return new PoolError('shutting_down', 'The pool is going away.', 'Try again in a moment.', retry)
  }
  if (status === 400) {
    return new PoolError(
      'unsupported_protocol',
      `The pool does not speak ${subprotocol}.`,
      'Install the same version of lichen on worker and pool.',
    )
  }
  return unreachable(url, `it answered with HTTP status ${status}`)
}

async function shakeHands(inbox: FrameInbox, options: DialOptions, signal: AbortSignal): Promise<SecureSession> {
  const { identity, poolId, runtime, staticKey, token, onFault } = options
  const noise = new NoiseHandshake({
    initiator: true,
    prologue: prologue(poolId),
    staticKey,
    ephemeralKey: generateDhKey(runtime),
  })
  inbox.socket.send(noise.write(() => Buffer.alloc(0)))
  const publicKey = readPool(noise, await inbox.next(signal), poolId)
  inbox.socket.send(noise.write((hash) => writeWorkerPayload(identity, hash, token)))
  return new NoiseSession({ inbox, keys: noise.finish(), peer: { publicKey, id: poolId }, runtime, onFault })
}

/** The pool's identity key out of message 2, or a refusal before anything of this worker was said. */
function readPool(noise: NoiseHandshake, message: Buffer, poolId: PoolId): Buffer {
  const payload = authenticated(noise, message, poolId)
  const proof = readSessionPayload('pool', payload, noise.hashBeforePayload)
  if (!proof) throw handshakeFailed('The pool did not sign for its session key.')
  if (sha256(proof.publicKey).toString('hex') !== poolId) throw wrongPool(poolId)
  acceptPoolKey(proof.publicKey, poolId)
  return proof.publicKey
}

/** Pools whose key this process has accepted: the id is the key's hash, so the curve check (1 ms) need not be repeated. */
const acceptedPools = new Set<PoolId>()

function acceptPoolKey(publicKey: Buffer, poolId: PoolId): void {
  if (acceptedPools.has(poolId)) return
  if (!acceptPublicKey(publicKey).ok) throw handshakeFailed('The identity key of the pool is not acceptable.')
  if (acceptedPools.size < transportLimits.acceptedPoolsMax) acceptedPools.add(poolId)
}

function authenticated(noise: NoiseHandshake, message: Buffer, poolId: PoolId): Buffer {
  try {
    return noise.read(message)
  } catch (error) {
    if (!(error instanceof NoiseError)) throw error
    throw wrongPool(poolId) // the PoolId is in the prologue: another pool's answer does not authenticate
  }
}

function wrongPool(poolId: PoolId): PoolError {
  return new PoolError(
    'wrong_pool',
    `What answers at this address did not prove to be pool ${poolId.slice(0, 12)}….`,
    'Ask the operator of the pool for a new invite, and check that the address is theirs.',
  )
}
