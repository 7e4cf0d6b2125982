import { Errand, type ErrandLink, type ErrandMessage } from './errand.ts'

/** One measurement of a worker's kernel class. */
export class Calibration extends Errand {
  readonly #found = Promise.withResolvers<string>()

  constructor(id: string, deadlineMs: number, signal: AbortSignal, link: ErrandLink) {
    super(id, deadlineMs, signal, link)
    this.#found.promise.catch(() => {})
  }

  /** The class: sha256, 64 hex digits. Rejects with a PoolError, or with the signal's reason. */
  get found(): Promise<string> {
    return this.#found.promise
  }

  protected override fail(error: unknown): void {
    this.#found.reject(error)
  }

  protected override hear(message: ErrandMessage): string | undefined {
    if (message.say !== 'class') return 'A calibration was answered with what was not asked for.'
    this.#found.resolve(message.class)
    this.done()
    return undefined
  }

  protected override isLast({ say }: ErrandMessage): boolean {
    return say === 'class'
  }
}
