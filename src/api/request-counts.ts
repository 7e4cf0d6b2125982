/** How clients' requests ended since this process started. */
export class RequestCounts {
  #answered = 0
  #refused = 0
  #left = 0

  /** `status` as it is reported: 499 when the client left. */
  add(status: number): void {
    if (status === 499) this.#left++
    else if (status < 400) this.#answered++
    else this.#refused++
  }

  now(): { answered: number; refused: number; left: number } {
    return { answered: this.#answered, refused: this.#refused, left: this.#left }
  }
}
