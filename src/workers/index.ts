/**
 * Workers: who is connected, and the runs they hold.
 *
 * Owns    worker sessions after the handshake: hello, heartbeats, leases, streams, credit, measured speed; checks and
 *         calibrations; the codec of every message inside a session, for both sides.
 * Imports transport, protocol, runtime. Who may come is decided by identity and handed in.
 * Always  one session per key, never more runs on a worker than its slots, and each run ends exactly once.
 */
export type { CheckAsk } from './check.ts'
export { decodePoolMessage } from './decode-pool-message.ts'
export {
  encodeCheckFailed,
  encodeClass,
  encodeCommitted,
  encodeDelta,
  encodeDispatch,
  encodeEnd,
  encodeEvidenceMessage,
  encodeFailed,
  encodeFetched,
  encodeFetching,
  encodeHeartbeat,
  encodeHello,
  encodeRoom,
  encodeTokenDetails,
  encodeVector,
} from './encode-message.ts'
export { workersLimits } from './limits.ts'
export type { CommittedToken, Papers, PoolMessage } from './messages.ts'
export type { RunEnd, RunHandle, RunOrder, RunOutput, RunSink } from './run.ts'
export { encodeTokens, streamBytes } from './tokens-codec.ts'
export type { Admission, ConnectedWorker, OfferedFetch } from './worker-session.ts'
export { Workers, type WorkersListener } from './workers.ts'
