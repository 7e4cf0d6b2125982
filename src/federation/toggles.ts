import { insertAct } from '#log'
import { PoolError } from '#protocol'
import { type Runtime, type Timer, withDeadline } from '#runtime'
import type { Database, Sql } from '#storage'
import type { KillSwitch, SwitchFile, WhyOff } from './kill-switch.ts'
import { federationLimits } from './limits.ts'

export const toggleNames = ['kill', 'read', 'write', 'accept', 'forward'] as const
/**
 * `kill` stops all federation; `read` and `write` let in the two kinds of admin requests; `accept` lends work to other pools, `forward`
 * lets them compute for this one.
 */
export type ToggleName = (typeof toggleNames)[number]

export interface ToggleRow {
  readonly name: ToggleName
  readonly isOn: boolean
  /** Milliseconds since 1970. */
  readonly changedAt: number
  /** `owner.key`, `key:<id>`; `default` where nobody has touched it. */
  readonly changedBy: string
  readonly reason: string
}

interface Options {
  readonly database: Database
  readonly runtime: Runtime
  /** Files that switch federation off and are there, or cannot be looked at; asked anew each time. */
  readonly filesThere: () => readonly SwitchFile[] | Promise<readonly SwitchFile[]>
  /** Why `write` may not be switched on, one sentence: nobody could sign. */
  readonly whyNoWrite: () => Promise<string | undefined>
  /** Switches that a setting keeps off, by its name, whatever the rows say. */
  readonly keptOff?: ReadonlyMap<ToggleName, string>
  /** Federation went off or on, as seen here. */
  readonly onFlip: (event: { off: boolean; because: readonly string[] }) => void
  readonly onProblem: (error: unknown) => void
}

/**
 * The switches of federation. The kill switch is on while one of its files is there, while its row says so, and while nobody can know:
 * a database that does not answer counts as on, and is called that, not a switch that somebody has turned. Files are looked at for every question, the rows are followed by NOTIFY and a poll.
 *
 *   file there ──┐
 *   row is on ───┼──▶ on: requests get 503, calls are not made, what runs is aborted
 *   row unknown ─┘
 */
export class Toggles implements KillSwitch, Disposable {
  readonly #o: Options
  readonly #running = new Set<(why: WhyOff) => void>()
  readonly #timers: Timer[] = []
  #rows = new Map<ToggleName, ToggleRow>()
  /** Monotonic; undefined: the last reading failed, or there was none. */
  #readAt: number | undefined
  /** Why it failed. */
  #unread: 'database slow' | 'database unreachable' = 'database unreachable'
  #reading: Promise<void> | undefined
  #wasOff = false
  readonly #stop: () => void

  private constructor(options: Options) {
    this.#o = options
    const again = () => void this.#follow()
    const listener = options.database.listen('federation_toggles', again, again)
    this.#timers.push(options.runtime.every(federationLimits.switchPollMs, again))
    this.#stop = () => listener.stop()
  }

  /** Opens although the database does not answer: then federation is off until it does. */
  static async open(options: Options): Promise<Toggles> {
    const toggles = new Toggles(options)
    await toggles.#follow()
    return toggles
  }

  [Symbol.dispose](): void {
    this.#stop()
    for (const timer of this.#timers) timer.cancel()
  }

  async on(): Promise<boolean> {
    return (await this.whyOff()) !== undefined
  }

  async whyOff(): Promise<WhyOff | undefined> {
    return (await this.#look()).why
  }

  /** Why federation is off, some words or a path each; empty: it is not. */
  async because(): Promise<readonly string[]> {
    return (await this.#look()).because
  }

  /** Whoever looks while it flips ends what runs. */
  async #look(): Promise<{ why: WhyOff | undefined; because: readonly string[] }> {
    const files = await this.#o.filesThere()
    const unknown = this.#unknown
    const isOn = !unknown && this.#rows.get('kill')?.isOn !== false
    const because = [
      ...files.map(({ path, isThere }) => (isThere ? path : `${path} cannot be looked at`)),
      ...(unknown ? [unknown] : isOn ? ['lichen fed kill'] : []),
    ]
    const why =
      because.length === 0 ? undefined : isOn || files.some(({ isThere }) => isThere) ? 'killed' : 'switch_unknown'
    const off = why !== undefined
    if (off !== this.#wasOff) {
      this.#wasOff = off
      this.#o.onFlip({ off, because })
    }
    if (why) for (const abort of [...this.#running]) abort(why)
    return { why, because }
  }

  register(abort: (why: WhyOff) => void): () => void {
    this.#running.add(abort)
    return () => void this.#running.delete(abort)
  }

  /** Whether something is let in or out, as last read; no when nobody can know. */
  allows(name: Exclude<ToggleName, 'kill'>): boolean {
    return !this.#unknown && !this.#o.keptOff?.has(name) && this.#rows.get(name)?.isOn === true
  }

  /** As the database has them now. */
  async list(): Promise<readonly ToggleRow[]> {
    await this.#read()
    return toggleNames.flatMap((name) => {
      const [row, setting] = [this.#rows.get(name), this.#o.keptOff?.get(name)]
      if (!row) return []
      return setting === undefined ? row : { ...row, isOn: false, changedBy: 'settings', reason: `${setting} is false` }
    })
  }

  /** Switches, and logs who did it. Acts here before it returns, within a second on other processes. @throws PoolError conflict. */
  async set(name: ToggleName, isOn: boolean, { actor, reason }: { actor: string; reason: string }): Promise<ToggleRow> {
    if (name === 'kill' && !isOn) await this.#refuseResume()
    if (name === 'write' && isOn) await this.#refuseWrite()
    if (isOn) this.#refuseKeptOff(name)
    const row = await this.#o.database.transaction(async (tx) => {
      const at = this.#o.runtime.now()
      const [now] = await tx<ToggleRow[]>`
        update federation_toggles set is_on = ${isOn}, changed_at = ${at}::timestamptz, changed_by = ${actor}, reason = ${reason}
         where name = ${name} returning ${toggleColumns(tx)}`
      if (!now) throw new Error(`there is no toggle ${name}`)
      const action = name === 'kill' ? `federation.${isOn ? 'kill' : 'resume'}` : 'federation.toggle'
      await insertAct(tx, { actor, action, subject: `toggle:${name}`, details: { on: isOn, reason } })
      return now
    })
    // not from `row`: a reading that is under way would put the old one back
    await this.#follow()
    return row
  }

  async #refuseResume(): Promise<void> {
    const [file] = await this.#o.filesThere()
    if (file === undefined) return
    const { path, isThere } = file
    throw isThere
      ? new PoolError('conflict', `The file ${path} keeps federation off.`, 'Remove it, then resume again.')
      : new PoolError(
          'conflict',
          `Whether ${path} is there cannot be known.`,
          'Let the pool read that folder, then resume again.',
        )
  }

  async #refuseWrite(): Promise<void> {
    const why = await this.#o.whyNoWrite()
    if (why !== undefined)
      throw new PoolError('conflict', why, 'Make one on your own machine: `lichen admin-key new NAME`.')
  }

  #refuseKeptOff(name: ToggleName): void {
    const setting = this.#o.keptOff?.get(name)
    if (setting === undefined) return
    throw new PoolError('conflict', `The setting ${setting} keeps it off.`, 'Change the setting, and start again.')
  }

  /** Why it cannot be known what the rows say now; undefined: it can. */
  get #unknown(): string | undefined {
    const { runtime } = this.#o
    if (this.#readAt === undefined) return this.#unread
    const { switchAgeMsMax } = federationLimits
    return runtime.monotonic() - this.#readAt > switchAgeMsMax ? `not read for ${switchAgeMsMax / 1_000} s` : undefined
  }

  async #follow(): Promise<void> {
    try {
      await this.#read()
    } catch (error) {
      this.#o.onProblem(error)
    }
    await this.because()
  }

  /** A reading that began before somebody asked may have missed what was meant: one more follows it. */
  async #read(): Promise<void> {
    await this.#reading?.catch(() => {})
    this.#reading ??= this.#load().finally(() => {
      this.#reading = undefined
    })
    await this.#reading
  }

  async #load(): Promise<void> {
    const { database, runtime } = this.#o
    const askedAt = runtime.monotonic()
    const { switchReadMsMax } = federationLimits
    let isLate = false
    const late = () => {
      isLate = true
      const message = `The switches of federation could not be read within ${switchReadMsMax} ms.`
      return new PoolError('database_unavailable', message, 'Try again.')
    }
    try {
      const asked = database.sql<ToggleRow[]>`select ${toggleColumns(database.sql)} from federation_toggles`
      const rows = await withDeadline(runtime, switchReadMsMax, late, asked)
      this.#rows = new Map(rows.map((row) => [row.name, row]))
      this.#readAt = askedAt
    } catch (error) {
      this.#readAt = undefined
      this.#unread = isLate ? 'database slow' : 'database unreachable'
      throw error
    }
  }
}

const toggleColumns = (sql: Sql) =>
  sql`name, is_on as "isOn", changed_at as "changedAt", changed_by as "changedBy", reason`
/** A toggle as it stands inside a transaction, locked until it ends. */
export async function toggleIn(tx: Sql, name: ToggleName): Promise<boolean> {
  const [row] = await tx<{ isOn: boolean }[]>`
    select is_on as "isOn" from federation_toggles where name = ${name} for share`
  return row?.isOn === true
}
