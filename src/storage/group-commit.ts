import { PoolError } from '#protocol'
import { type Runtime, type Timer, withDeadline } from '#runtime'
import type { Tx } from './client.ts'
import type { Connection, Statement } from './connection.ts'
import type { Database } from './database.ts'
import { databaseError, databaseLate, isTransient } from './errors.ts'
import { storageLimits } from './limits.ts'

/**
 * One kind of write, applied for a whole batch at once.
 *
 * `apply` gets the elements in the order they were submitted and answers one code for each: 0 applied, anything else
 * refused (the numbers are the stage's own). It must be idempotent: an element that was applied before, unchanged, is
 * 0 again, because a flush whose outcome is unknown is sent again with the same elements. It never throws for what one
 * element says; what it throws is a broken database or our bug.
 */
export interface Stage<E> {
  readonly name: string
  /**
   * It refuses nothing and is one statement, sent before anything is awaited (arguments included). Such stages are sent
   * last, in their order, in one packet with the commit: no round trip of their own.
   */
  readonly alwaysApplies?: true
  /** One statement locks and answers all; what it sends after that locks nothing. Others may be asked in the same packet. */
  readonly asksOnce?: true
  /**
   * Its question, the one statement it sends before it awaits anything, need not wait for the verdicts of the stages before
   * it: it is sent in one packet with theirs, about all elements. `reads`: it changes nothing before `decided`. `writes`: what
   * it wrote for an operation that an earlier stage refuses undoes the flush, so that should be rare.
   */
  readonly ahead?: 'reads' | 'writes'
  /**
   * The first statement is sent before anything is awaited. `atCommit` takes one statement (the same holds for it) that
   * travels with the commit; it is sent after all stages, and not at all when something of the flush was refused late.
   * `decided` resolves after the stages before it: whether the element of this number is still wanted. `writer` is the same object for all
   * flushes of one group commit, which come one after the other: a stage may remember by it what it has seen, but not that it was committed.
   */
  apply(
    tx: Tx,
    elements: readonly E[],
    atCommit: (statement: Statement) => void,
    decided: Promise<(n: number) => boolean>,
    writer: object,
  ): Promise<ArrayLike<number>>
}

/** One element for one stage. Made by {@link part}. */
export interface Part {
  readonly stage: Stage<never>
  readonly element: unknown
}

export function part<E>(stage: Stage<E>, element: E): Part {
  return { stage, element }
}

/** What must happen together: all parts are applied, or none. */
export type Operation = readonly Part[]

/** Refused: by which stage, with its code. Nothing of the operation was applied. */
export type Outcome =
  | { readonly applied: true }
  | { readonly applied: false; readonly stage: string; readonly code: number }

/** What a flush did, for metrics. */
export interface FlushEvent {
  readonly operations: number
  readonly ms: number
  /** Attempts beyond the first. */
  readonly retries: number
  /** Why it was given up, when it was. */
  readonly error?: unknown
}

interface Entry {
  readonly operation: Operation
  readonly dueAt: number
  /** It may wait for company until then. */
  readonly wantedAt: number
  readonly resolve: (outcome: Outcome) => void
  readonly reject: (error: unknown) => void
  outcome: Outcome
  /** A statement this operation broke by itself. */
  failure?: unknown
}

const applied: Outcome = { applied: true }

/** Taking out the guilty may make others guilty; after so many rounds everybody goes alone. */
const attemptsTogetherMax = 3

/** Some operations were refused after an earlier stage had applied part of them: the flush must be undone. */
class LateRefusal extends Error {
  readonly entries: ReadonlySet<Entry>
  constructor(entries: ReadonlySet<Entry>) {
    super('refused after a part was applied')
    this.entries = entries
  }
}

/**
 * The hot path's way to write: operations submitted while a flush is on its way make up the next one, so one commit
 * (one fsync) serves many. A flush is one transaction: the stages in their fixed order, each with one set-based call.
 * It is waited for only where an answer decides what comes next: after the stages that may refuse, asked together where
 * they can be, and the commit with everything else.
 *
 * Outcomes are those of some order in which the operations ran one after the other.
 */
export class GroupCommit implements AsyncDisposable {
  readonly #database: Pick<Database, 'connect'>
  readonly #runtime: Runtime
  readonly #stages: readonly Stage<never>[]
  readonly #onFlush: ((event: FlushEvent) => void) | undefined
  #connection: Connection | undefined
  #waiting: Entry[] = []
  #flushing: Promise<void> | undefined
  /** Somebody among those waiting wants a flush now. */
  #urgent = false
  /** Begins the flush of those who are patient. */
  #timer: Timer | undefined
  #stopped = false
  /** When a flush last failed that had been tried before; undefined after one that did not. */
  #failedAt: number | undefined
  /** When the first of these failures was. */
  #failingSince = 0

  /** `stages` in the order every flush applies them (contracts: ledger, orders, jobs, receipts, log). */
  constructor(options: {
    readonly database: Pick<Database, 'connect'>
    readonly runtime: Runtime
    readonly stages: readonly Stage<never>[]
    readonly onFlush?: (event: FlushEvent) => void
  }) {
    this.#database = options.database
    this.#runtime = options.runtime
    this.#stages = options.stages
    this.#onFlush = options.onFlush
  }

  /** Operations not yet on their way. */
  get waiting(): number {
    return this.#waiting.length
  }

  /**
   * Writes fail at the moment: a full disk, a server that answers reads only. Nobody may write for as long as this is so, hence it is
   * forgotten after {@link storageLimits.stalledMs}: the next write shows what is true.
   */
  get stalled(): boolean {
    return this.#failedAt !== undefined && this.#runtime.monotonic() - this.#failedAt < storageLimits.stalledMs
  }

  /** How long writes have failed without one that did not, milliseconds; 0 when not {@link stalled}. */
  get stalledForMs(): number {
    return this.stalled ? this.#runtime.monotonic() - this.#failingSince : 0
  }

  /**
   * Resolves after the commit. With `patienceMs` it begins no flush of its own for so long, and travels with whatever comes: for writes
   * that nobody waits for. Rejects with PoolError `database_unavailable` when the database stayed away for
   * {@link storageLimits.operationDeadlineMs}: then the operation may or may not have been applied.
   * @throws PoolError overloaded, shutting_down: nothing was applied.
   */
  submit(operation: Operation, patienceMs = 0): Promise<Outcome> {
    if (this.#stopped)
      return Promise.reject(new PoolError('shutting_down', 'The pool is stopping.', 'Try again later.'))
    if (this.#waiting.length >= storageLimits.waitingOperationsMax) {
      return Promise.reject(
        new PoolError('overloaded', 'Too many writes wait for the database.', 'Try again in a moment.', {
          retryAfterMs: 1_000,
        }),
      )
    }
    return new Promise((resolve, reject) => {
      const now = this.#runtime.monotonic()
      const dueAt = now + storageLimits.operationDeadlineMs
      this.#waiting.push({ operation, dueAt, wantedAt: now + patienceMs, resolve, reject, outcome: applied })
      if (patienceMs > 0) this.#wait(patienceMs)
      else this.#begin()
    })
  }

  /** Takes nothing more; resolves when what was submitted has its outcome. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#begin()
    await this.#flushing
    await this.#connection?.close()
    this.#connection = undefined
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #begin(): void {
    this.#urgent = true
    this.#timer?.cancel()
    this.#timer = undefined
    this.#flushing ??= this.#flushAll()
  }

  /** A flush that is on its way looks after the patient itself. */
  #wait(ms: number): void {
    if (!this.#flushing) this.#timer ??= this.#runtime.after(ms, () => this.#begin(), { keepAlive: true })
  }

  async #flushAll(): Promise<void> {
    // what the same turn submits belongs to the same flush
    await Promise.resolve()
    while (this.#waiting.length > 0 && this.#urgent) {
      const batch = this.#waiting.splice(0, storageLimits.flushOperationsMax)
      this.#urgent = this.#stopped || this.#waiting.length > 0
      await this.#flush(batch)
    }
    this.#flushing = undefined
    const [first] = this.#waiting
    if (first) this.#wait(Math.max(0, first.wantedAt - this.#runtime.monotonic()))
  }

  async #flush(batch: readonly Entry[]): Promise<void> {
    const startedAt = this.#runtime.monotonic()
    let lastError: unknown
    let retries = 0
    let open = this.#stillInTime(batch, undefined)
    for (; open.length > 0; retries++) {
      try {
        await this.#attempt(open)
        this.#failedAt = undefined
        for (const entry of open) answer(entry)
        break
      } catch (error) {
        lastError = error
        if (retries > 0) this.#noteFailure()
        open = this.#stillInTime(open, error)
        if (open.length > 0) await this.#runtime.sleep(Math.min(500, 10 * 2 ** retries))
      }
    }
    const event = { operations: batch.length, ms: this.#runtime.monotonic() - startedAt, retries }
    this.#onFlush?.(open.length > 0 ? event : { ...event, error: lastError })
  }

  #noteFailure(): void {
    const now = this.#runtime.monotonic()
    this.#failingSince = this.#failedAt === undefined ? now : this.#failingSince
    this.#failedAt = now
  }

  /** Rejects what is out of time, or everything when trying again is pointless; returns what to try again. */
  #stillInTime(entries: readonly Entry[], error: unknown): Entry[] {
    const now = this.#runtime.monotonic()
    const hopeless = error !== undefined && !isPassing(error)
    return entries.filter((entry) => {
      if (!hopeless && now < entry.dueAt) return true
      entry.reject(error === undefined ? databaseLate('commit') : databaseError(error))
      return false
    })
  }

  /** One try, bounded in time: a server that neither answers nor dies is cut off. */
  async #attempt(entries: readonly Entry[]): Promise<void> {
    const leftMs = Math.max(1, (entries[0]?.dueAt ?? 0) - this.#runtime.monotonic())
    const attempt = { over: false }
    try {
      await withDeadline(this.#runtime, leftMs, () => databaseLate('commit'), this.#apply(entries, attempt))
    } catch (error) {
      if (error instanceof PoolError) this.#connection?.destroy()
      throw error
    } finally {
      attempt.over = true
    }
  }

  async #apply(entries: readonly Entry[], attempt: { readonly over: boolean }): Promise<void> {
    const connection = await this.#connected()
    if (attempt.over) return
    try {
      await connection.flush((tx) => this.#applyRefusing(tx, entries))
    } catch (error) {
      if (connection.lost || isPassing(error)) throw error
      // A late refusal, or a statement that one element broke: find who it was.
      const suspects = error instanceof LateRefusal ? error.entries : new Set(entries)
      await connection.transaction((tx) => this.#applyApart(tx, entries, suspects))
    }
  }

  async #connected(): Promise<Connection> {
    if (this.#connection && !this.#connection.lost) return this.#connection
    const connection = await this.#database.connect()
    this.#connection?.destroy()
    this.#connection = connection
    return connection
  }

  /** Every stage once, for all operations that are still unrefused. */
  async #applyTogether(tx: Tx, entries: readonly Entry[]): Promise<void> {
    for (const statement of await this.#applyRefusing(tx, entries)) await statement(tx)
  }

  /** The stages that may refuse; answers what remains to be sent: the others, and what was left to the commit. */
  async #applyRefusing(tx: Tx, entries: readonly Entry[]): Promise<Statement[]> {
    for (const entry of entries) entry.outcome = applied
    const present = new Set(entries.flatMap((entry) => entry.operation.map((item) => item.stage)))
    const stages = this.#stages.filter((stage) => present.has(stage))
    const refusals = new Refusals()
    const last: Statement[] = []
    for (const round of roundsOf(stages.filter((stage) => !stage.alwaysApplies))) {
      const verdicts: Promise<void>[] = []
      for (const stage of round) {
        const { owners, elements } = elementsOf(stage, entries)
        if (elements.length === 0) continue
        const before = allOf([...verdicts])
        const decided = before.then(() => (n: number) => owners[n]?.outcome.applied === true)
        // whoever fails is heard below; not every stage listens
        decided.catch(() => {})
        const answered = stage.apply(tx, elements, (statement) => last.push(statement), decided, this)
        verdicts.push(Promise.all([answered, before]).then(([codes]) => refusals.note(stage, owners, codes)))
      }
      await allOf(verdicts)
    }
    if (refusals.late.size > 0) throw new LateRefusal(refusals.late)
    const rest = stages.flatMap((stage) => {
      const { elements } = stage.alwaysApplies ? elementsOf(stage, entries) : nothing
      return elements.length === 0 ? [] : [(to: Tx) => stage.apply(to, elements, nothingLater, nothingBefore, this)]
    })
    return [...rest, ...last]
  }

  /** The innocent together, then the suspects one by one, each undone alone when it is refused. */
  async #applyApart(tx: Tx, entries: readonly Entry[], suspects: ReadonlySet<Entry>): Promise<void> {
    const alone = new Set(suspects)
    for (let attempt = 1; ; attempt++) {
      const together = entries.filter((entry) => !alone.has(entry))
      if (together.length === 0) break
      const error = await inSavepoint(tx, () => this.#applyTogether(tx, together))
      if (error === undefined) break
      const guilty = error instanceof LateRefusal && attempt < attemptsTogetherMax ? error.entries : together
      for (const entry of guilty) alone.add(entry)
    }
    for (const entry of alone) {
      const error = await inSavepoint(tx, () => this.#applyTogether(tx, [entry]))
      if (error !== undefined && !(error instanceof LateRefusal)) entry.failure = error
    }
  }
}

function answer(entry: Entry): void {
  if (entry.failure === undefined) entry.resolve(entry.outcome)
  else entry.reject(entry.failure)
}

/** Waits for all of what was sent one behind the other; throws what the first of them met, the others fail in its wake. */
async function allOf(sent: readonly Promise<void>[]): Promise<void> {
  for (const answer of await Promise.allSettled(sent)) if (answer.status === 'rejected') throw answer.reason
}

const nothing: { readonly elements: never[] } = { elements: [] }
const nothingBefore = Promise.resolve(() => true)
const nothingLater = () => {
  throw new Error('a stage that always applies is one statement')
}

/** Stages that are asked in one packet each time: only where no lock is taken later than it stands in the order. */
function roundsOf(stages: readonly Stage<never>[]): Stage<never>[][] {
  const rounds: Stage<never>[][] = []
  for (const stage of stages) {
    const round = rounds.at(-1)
    if (round && stage.ahead && round.every((other) => other.asksOnce)) round.push(stage)
    else rounds.push([stage])
  }
  return rounds
}

const isPassing = (error: unknown) =>
  error instanceof PoolError ? error.code === 'database_unavailable' : isTransient(error)

/** A stage's elements of all operations not refused so far, in order, and whose they are. */
function elementsOf(stage: Stage<never>, entries: readonly Entry[]): { owners: Entry[]; elements: never[] } {
  const owners: Entry[] = []
  const elements: unknown[] = []
  for (const entry of entries) {
    if (!entry.outcome.applied) continue
    for (const item of entry.operation) {
      if (item.stage !== stage) continue
      owners.push(entry)
      elements.push(item.element)
    }
  }
  // a part is only made by `part`, which ties the element's type to its stage's
  return { owners, elements: elements as never[] }
}

/** Who was refused, and who was refused too late: after an element of theirs had been applied. */
class Refusals {
  readonly #touched = new Set<Entry>()
  readonly late = new Set<Entry>()

  note(stage: Stage<never>, owners: readonly Entry[], codes: ArrayLike<number>): void {
    if (codes.length !== owners.length)
      throw new Error(`stage ${stage.name} answered ${codes.length} codes for ${owners.length} elements`)
    // Of who was refused before, a stage that heeds the verdicts has applied nothing.
    const heeded = new Set(stage.ahead === 'reads' ? owners.filter((entry) => !entry.outcome.applied) : [])
    owners.forEach((entry, index) => {
      const code = codes[index] ?? 0
      if (heeded.has(entry)) return
      if (code === 0) this.#touched.add(entry)
      else if (entry.outcome.applied) entry.outcome = { applied: false, stage: stage.name, code }
    })
    for (const entry of owners) if (!entry.outcome.applied && this.#touched.has(entry)) this.late.add(entry)
  }
}

/** Runs in a savepoint; the error that undid it, or undefined. Only a broken connection or server is thrown. */
async function inSavepoint(tx: Tx, work: () => Promise<void>): Promise<unknown> {
  await tx.unsafe('savepoint apart')
  try {
    await work()
    await tx.unsafe('release savepoint apart')
    return undefined
  } catch (error) {
    if (isPassing(error)) throw error
    await tx.unsafe('rollback to savepoint apart; release savepoint apart')
    return error
  }
}
