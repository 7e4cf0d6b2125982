/** Limits of a worker session. Repeated in docs/reference/limits.md, kept by a test. */
export const transportLimits = {
  /** From dialling to the opened socket: three lost SYNs, or a turn at the door of a pool to which thousands return at once. */
  openMsMax: 20_000,
  /** From the opened socket to the pool's decision. The handshake is two round trips: 1.2 s at 600 ms each. */
  authMsMax: 5_000,
  /** Sockets of one source (/24, /56) that have not finished their handshake. A rack behind one address reconnects in a few rounds. */
  unauthenticatedPerSourceMax: 128,
  /** The same of all sources together: 5 s × 1,024 sockets bound what strangers can hold open. */
  unauthenticatedMax: 1_024,
  /** Shortest and longest wait named to a socket that found no room; in between they come as fast as workers are let in. */
  retryAfterMs: 1_000,
  retryAfterMsMax: 20_000,
  /** Workers let in a second, as long as no more was measured: two busy cores did 250. */
  letInPerSecondMin: 200,
  /** Records, and WebSocket pings, until someone listens: a hello of 256 models is three. */
  earlyRecordsMax: 16,
  /** Pieces a proxy may cut one WebSocket message into: 65,535 bytes in pieces of a kilobyte. */
  framePiecesMax: 64,
  /** Pools whose key one process remembers as accepted; a worker has one. */
  acceptedPoolsMax: 64,
  /** One-time token of an invite; ours have 32 bytes. */
  tokenBytesMax: 64,
  /** Messages a second of one session, and how many at once. Each in a record of its own, 30,000 cost a fifth of a core. */
  messagesPerSecond: 30_000,
  messagesBurst: 60_000,
  /** Bytes a second of one session, and how many at once: half a gigabit, and sixteen of the longest messages. */
  bytesPerSecond: 64 * 2 ** 20,
  bytesBurst: 128 * 2 ** 20,
  /** Bytes waiting for a peer that does not read, before the session is closed: eight of the longest messages. */
  sendBufferBytesMax: 64 * 2 ** 20,
  /** Above this a sender is asked to wait; it is told when all has been handed to the kernel. */
  sendBufferHighBytes: 2 ** 20,
  /** Records, bytes and age of one sending key (spec/worker.md section 2). */
  rekeyRecords: 2 ** 20,
  rekeyBytes: 2 ** 30,
  rekeyMs: 120_000,
  /** The nonce has 64 bits; a double counts to 2^53 exactly. At a million records a second this takes nine years. */
  nonceMax: 2 ** 48,
  /** A fragmented message that is not complete after this is refused: 8 MiB at 0.6 Mbit/s. */
  reassemblyMsMax: 120_000,
  /** How long a closed socket waits for the other side's close frame. */
  closeMsMax: 2_000,
} as const
