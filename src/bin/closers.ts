/** What was opened, closed in reverse order; one that fails does not keep the others open. */
export class Closers {
  readonly #open: { readonly what: string; readonly close: () => unknown }[] = []

  add(what: string, close: () => unknown): void {
    this.#open.push({ what, close })
  }

  /** Closes everything once; `onFault` hears what could not be closed. */
  async close(onFault: (what: string, error: unknown) => void): Promise<void> {
    for (let one = this.#open.pop(); one; one = this.#open.pop()) {
      try {
        await one.close()
      } catch (error) {
        onFault(one.what, error)
      }
    }
  }
}
