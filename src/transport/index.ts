/**
 * Transport: one encrypted, mutually authenticated session between a worker and its pool.
 *
 * Owns    the Noise handshake, records and their keys, fragments, WebSocket framing, the door workers knock at, their limits.
 * Imports crypto, runtime, protocol.
 * Always  nothing of a message leaves unencrypted; a peer's identity is proven before its first message is delivered.
 */
export type { Admission, Peer } from './accept-session.ts'
export { clientAddress, isWithin, parseTrustedProxies, sourceGroup } from './client-address.ts'
export { closeCode } from './close-code.ts'
export { transportOps } from './conformance.ts'
export { type DialOptions, dialSession } from './dial-session.ts'
export { hangUp } from './hang-up.ts'
export type { SecureSession, SessionPeer } from './secure-session.ts'
export { WorkerDoor, type WorkerDoorOptions } from './worker-door.ts'
