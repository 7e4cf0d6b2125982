/** Limits of the HTTP API. Repeated in docs/reference/limits.md, kept by a test. */
export const apiLimits = {
  /** All headers of a request; 16 KiB hold any sane set (Node's own default). */
  headerBytesMax: 16_384,
  /** A client that has not finished its headers by then is told 408 (slowloris). */
  headersTimeoutMs: 10_000,
  /** The same for headers and body together: 4 MiB at 70 kB/s, a slow mobile line. */
  requestTimeoutMs: 60_000,
  /** How often slow senders are looked for. */
  slowCheckMs: 1_000,
  /** After how much silence the kernel asks whether the other side is still there (NAT that forgot us). */
  tcpProbeMs: 30_000,
  /** An idle keep-alive connection; above the 60 s after which common proxies close theirs, so that they go first. */
  keepAliveTimeoutMs: 72_000,
  /** Sockets of all kinds, worker sessions included. One costs about 10 KiB. */
  connectionsMax: 65_536,
  /** A stream that has nothing to say says so this often, so that proxies keep it open (most close after 30–60 s). */
  keepAliveCommentMs: 10_000,
  /** A reader that takes nothing for so long is cut … */
  stalledReaderMs: 60_000,
  /** … plus the time the waiting bytes need at this rate, the slowest line we serve. */
  readerBytesPerSecondMin: 16_384,
  /** Text of one whole (not streamed) answer, all choices together. A 1 M-token answer has about 4 M characters. */
  answerCharsMax: 16 * 2 ** 20,
  /** Request ids of clients that are taken over; longer ones are replaced. */
  requestIdCharsMax: 128,
  /** Keys with a limit of requests per minute whose minute is remembered at the door; of others the ledger is asked. */
  ratedKeysMax: 100_000,
  /** Requests of such a key that are let in and not taken on, in a minute; from then on, or from as many as its limit, it waits like one that has used it up. */
  idleRequestsMin: 100,
  /** Requests of one connection that wait behind an unanswered one. Nobody but a flood sends more (RFC 9112 §9.3.2). */
  pipelinedRequestsMax: 16,
  /** A body that nobody wants is let pass by when it has no more; else the connection ends: a new one costs as much as reading so many. */
  passedByBytesMax: 65_536,
  /** A client that still sends such a body has so long to read the answer … */
  lingerMs: 1_000,
  /** … as long as no more do at once; each holds what the kernel has taken of the body. */
  lingeringMax: 128,
  /** The metrics page is made anew at most so often: it is open to all, and making it costs milliseconds. */
  metricsAgeMs: 1_000,
  /** How long somebody stays logged in at the page of the pool. */
  pageSessionMs: 3_600_000,
  /** Bodies of administration: names, durations, lists of models. */
  adminBodyBytesMax: 65_536,
  /** Exports of the ledger at once; each holds a few thousand rows while its reader is slow. */
  exportsMax: 4,
  /** How far from now a grant may have been signed: time to carry it by hand, and no more. */
  grantAgeMsMax: 86_400_000,
  /** Rows of one page of a list, and how many without `limit`. */
  pageMax: 500,
  pageDefault: 50,
} as const

/** What a program or a test may set otherwise. */
export type ApiLimits = { readonly [K in keyof typeof apiLimits]: number }
