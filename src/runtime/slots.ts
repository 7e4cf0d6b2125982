/**
 * Members that come and go with requests, each in a slot of its own.
 *
 * For long-lived registries whose members live for milliseconds, where a `Map` or `Set` costs the collector dearly
 * (decision 0026): a table of V8 that makes room for new members leaves the old table behind, pointing to the new one
 * (`OrderedHashTable`, for the sake of iterators). Once one of them lies among the old objects, so do all that follow
 * until the next full collection, and with them all that was a member when one was left.
 */
export class Slots<T extends object> implements Iterable<T> {
  readonly #members: (T | undefined)[] = []
  readonly #free: number[] = []

  get size(): number {
    return this.#members.length - this.#free.length
  }

  /** The slot it is in from now on: its owner gives that back to {@link remove}, once. */
  add(member: T): number {
    const slot = this.#free.pop() ?? this.#members.length
    this.#members[slot] = member
    return slot
  }

  at(slot: number): T | undefined {
    return this.#members[slot]
  }

  remove(slot: number): void {
    if (this.#members[slot] === undefined) throw new RangeError(`nobody is in slot ${slot}`)
    this.#members[slot] = undefined
    this.#free.push(slot)
  }

  /** In no order; members may leave meanwhile. */
  *[Symbol.iterator](): IterableIterator<T> {
    for (const member of this.#members) if (member !== undefined) yield member
  }
}

/** {@link Slots} whose members are found by a name. Only the names are in a `Map`. */
export class SlotMap<K extends string | number, T extends object> {
  readonly #slotOf = new Map<K, number>()
  readonly #slots = new Slots<T>()

  get size(): number {
    return this.#slots.size
  }

  get(name: K): T | undefined {
    const slot = this.#slotOf.get(name)
    return slot === undefined ? undefined : this.#slots.at(slot)
  }

  has(name: K): boolean {
    return this.#slotOf.has(name)
  }

  /** In the place of whoever bore the name. */
  set(name: K, member: T): void {
    this.delete(name)
    this.#slotOf.set(name, this.#slots.add(member))
  }

  /** False when nobody bears the name. */
  delete(name: K): boolean {
    const slot = this.#slotOf.get(name)
    if (slot === undefined) return false
    this.#slotOf.delete(name)
    this.#slots.remove(slot)
    return true
  }

  /** In no order; members may leave meanwhile. */
  values(): IterableIterator<T> {
    return this.#slots[Symbol.iterator]()
  }
}
