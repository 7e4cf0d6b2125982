import type { RawRequest } from './read-envelope.ts'
import type { Heard } from './receiver.ts'

export interface Answer {
  readonly status: number
  readonly body: object
  /** Name, value, name, value. */
  readonly headers: readonly string[]
}

/** An answer that is made while it is sent. What breaks it cuts the connection: a stream without its last event is unfinished. */
export interface StreamedAnswer {
  readonly contentType: string
  readonly pieces: AsyncGenerator<Buffer, void>
  /** Who asked is gone: nobody waits for the next piece. Set for who serves it. */
  readonly abandon?: () => void
}

/** What a pool finds at one signed path. */
export interface SignedRoute {
  /** Who may come: pools trusted at least so much here. */
  readonly trustMin: 0 | 1 | 2 | 3 | 4
  /** Refusals that come before the signature is looked at; only what anybody may know belongs here. */
  readonly before?: (request: RawRequest) => Answer | undefined | Promise<Answer | undefined>
  /** Of a path that has {@link before}: why a body of so many bytes is not even read. */
  readonly beforeBody?: (bodyBytes: number) => Answer | undefined
  /** Requests of one pool; those of `jobs` and `facts` are counted apart, per level of trust. */
  readonly bucket?: 'jobs' | 'facts'
  /**
   * Once the signature holds and the message counts. `signal` aborts when federation is switched off or the pool is revoked: then nobody waits
   * for the answer. Only who speaks version 2 may be given a stream.
   */
  readonly reply: (heard: Heard, signal: AbortSignal) => Answer | StreamedAnswer | Promise<Answer | StreamedAnswer>
}

export const answerNo = (status: number, error: string, headers: readonly string[] = []): Answer => ({
  status,
  body: { error },
  headers,
})

export const answerYes = (body: object): Answer => ({ status: 200, body, headers: [] })
