import type { RawRequest } from './read-envelope.ts'
import type { Heard } from './receiver.ts'

export interface Answer {
  readonly status: number
  readonly body: object
  /** Name, value, name, value. */
  readonly headers: readonly string[]
}

/** What a pool finds at one signed path. */
export interface SignedRoute {
  /** Who may come: pools trusted at least so much here. */
  readonly trustMin: 0 | 1 | 2 | 3 | 4
  /** Refusals that come before the signature is looked at; only what anybody may know belongs here. */
  readonly before?: (request: RawRequest) => Answer | undefined | Promise<Answer | undefined>
  /** Once the signature holds and the message counts. Ends when federation is switched off: then nobody waits for it. */
  readonly reply: (heard: Heard) => Answer | Promise<Answer>
}

export const answerNo = (status: number, error: string, headers: readonly string[] = []): Answer => ({
  status,
  body: { error },
  headers,
})

export const answerYes = (body: object): Answer => ({ status: 200, body, headers: [] })
