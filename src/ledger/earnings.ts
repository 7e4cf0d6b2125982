import { decodeSigned } from '#protocol'
import type { Runtime, Timer } from '#runtime'
import { type Database, fromDatabase, type Outcome } from '#storage'
import { ledgerCodes, type MoveKind, type TransferOp } from './ledger-op.ts'
import { ledgerLimits } from './limits.ts'
import { type MoveSigner, moveId, signMoves } from './move-op.ts'
import { planRefund } from './plan-refund.ts'
import { readResolutions, readTransfers, scanSlashes, scanTaken } from './read-transfers.ts'
import type { TransferRow } from './transfer-leaf.ts'

/** How long earnings are held: the longer of the two. */
export interface HoldingRule {
  /** Milliseconds. */
  readonly ms: number
  /** The worker's latest payments; more than these must have come in. */
  readonly payments: number
}

export interface EarningsOptions extends MoveSigner {
  readonly database: Database
  readonly runtime: Runtime
  readonly rule: HoldingRule
  /** All of them or none, each with its leaf in the log. */
  readonly submit: (ops: readonly TransferOp[]) => Promise<Outcome>
  /** Whether the worker's earnings are free: no doubt about its work. */
  readonly mayRelease: (workerId: string) => boolean
  /** The pool's own worker: its earnings wait for nobody. */
  readonly isOwn: (workerId: string) => boolean
  /** Id of the worker's operator, whose stake stands for it. */
  readonly operatorOf: (workerId: string) => Promise<string | undefined>
  /** What looking at this worker's answers has cost, micro-credits. */
  readonly checksCost: (workerId: string) => Promise<bigint>
  /** What was taken from it is kept while it waits for a decision. */
  readonly hasOpenAppeal: (workerId: string) => Promise<boolean>
  /** Convictions that stand, and when their slash was carried out, milliseconds since 1970; one of each worker. */
  readonly convictions: () => Promise<readonly (Pick<Conviction, 'workerId' | 'because'> & { readonly at: number })[]>
  /** Does the work unless the conviction does not stand any more or an appeal is open; nobody lifts it meanwhile. */
  readonly whileConvicted: (workerId: string, work: () => Promise<void>) => Promise<void>
  readonly onProblem: (error: unknown) => void
}

/** A conviction: whose, and the check or tribunal that says so. Doing the same `id` twice is doing it once. */
export interface Conviction {
  readonly id: string
  readonly workerId: string
  readonly because: string
}

/** Any 64-bit number nobody else uses: "earnings" in ASCII. */
const lockKey = '7305522462302857075'

/** Whom a move of the pool is about, and why; undefined for what nobody can read. */
function whoseMove({ authorisation }: TransferRow): Pick<Conviction, 'workerId' | 'because'> | undefined {
  const decoded = authorisation && decodeSigned(authorisation, 'move/1')
  if (!decoded?.ok || !decoded.signed.message.worker) return undefined
  const { worker, because } = decoded.signed.message
  return { workerId: worker.toString('hex'), because }
}

/** Who was slashed, why and when the last time (milliseconds since 1970), by which transfer; newest first. */
function lastSlashes(slashes: readonly TransferRow[]) {
  const found = new Map<string, { id: string; about: Pick<Conviction, 'workerId' | 'because'>; at: number }>()
  for (const row of slashes) {
    const about = whoseMove(row)
    if (about && !found.has(about.workerId)) found.set(about.workerId, { id: row.id, about, at: row.at })
  }
  return found.values()
}

/**
 * What becomes of a worker's part of the price:
 *
 *   charge ──▶ held ──▶ worker                         released: old enough, and nobody doubts the worker
 *                  └──▶ refund_reserve (slash) ──▶ users, then the cost of looking, then burnt
 *
 * What is paid into `held` after a slash, for answers that were under way, pays for late refunds and then goes the same way.
 * Every move is signed by the pool and names its reason. One process of a pool releases at a time.
 */
export class Earnings implements AsyncDisposable {
  readonly #o: EarningsOptions
  readonly #timer: Timer
  #round: Promise<void> | undefined

  constructor(options: EarningsOptions) {
    this.#o = options
    this.#timer = options.runtime.every(ledgerLimits.releaseLookMs, () => this.#look())
  }

  #look(): void {
    this.#round ??= this.release()
      .then(() => this.slashLate())
      .then(() => this.spendSlashed())
      .catch((error: unknown) => this.#o.onProblem(error))
      .finally(() => {
        this.#round = undefined
      })
  }

  /** Releases what is old enough now. @throws PoolError database_unavailable. */
  async release(): Promise<void> {
    const { database, runtime, rule, mayRelease, isOwn } = this.#o
    await this.#alone(async () => {
      const until = runtime.now() - rule.ms
      for (let behind = ''; ; ) {
        const page = await database.sql<{ name: string; posted: bigint; matured: bigint }[]>`
          select * from matured_earnings(${behind}, ${until}::timestamptz, ${rule.payments}, ${ledgerLimits.pageRowsMax})`
        const moves = page.flatMap(({ name, posted, matured }) => {
          const workerId = name.slice('held:'.length)
          const amount = isOwn(workerId) ? posted : matured
          if (amount <= 0n || !mayRelease(workerId)) return []
          return [this.#move('release', name, `worker:${workerId}`, amount, { workerId, because: 'held long enough' })]
        })
        // Each by itself: one that meets a slash does not keep the others waiting.
        for (const op of signMoves(this.#o, moves)) await this.#o.submit([op])
        if (page.length < ledgerLimits.pageRowsMax) return
        behind = page.at(-1)?.name ?? behind
      }
    })
  }

  /** Takes what the worker has earned and not got, and its operator's stake; users are paid back from it first. */
  async slash(conviction: Conviction): Promise<void> {
    const { workerId } = conviction
    const operator = await this.#o.operatorOf(workerId)
    const sources = [`held:${workerId}`, ...(operator === undefined ? [] : [`stake:${operator}`])]
    for (const from of sources) {
      const id = moveId('slash', conviction.id, from)
      if (await this.#isDone(id)) continue
      const amount = (await this.#available([from])).get(from) ?? 0n
      if (amount > 0n) await this.#once(() => [this.#move('slash', from, 'refund_reserve', amount, conviction, id)])
    }
  }

  /**
   * Takes what has come in for convicted workers after their slash, once no answer of that time can be looked at any more: until then it pays
   * for those that are found false. While an appeal is open it stays where it is: granted, it is released like what a newcomer earns.
   */
  async slashLate(): Promise<void> {
    const { convictions, whileConvicted, runtime } = this.#o
    await this.#alone(async () => {
      for (const { at, ...about } of await convictions()) {
        if (at > runtime.now() - ledgerLimits.slashKeptMs) continue
        const from = `held:${about.workerId}`
        await whileConvicted(about.workerId, async () => {
          const amount = (await this.#available([from])).get(from) ?? 0n
          if (amount > 0n) await this.#once(() => [this.#move('slash', from, 'refund_reserve', amount, about)])
        })
      }
    })
  }

  /** Pays the full price of these jobs back to who paid it, once for each job. */
  async refund(conviction: Conviction, jobs: readonly string[]): Promise<void> {
    const operator = await this.#o.operatorOf(conviction.workerId)
    const held = `held:${conviction.workerId}`
    const stake = operator === undefined ? undefined : `stake:${operator}`
    const charges = await readResolutions(this.#o.database.sql, jobs)
    for (const [job, charge] of charges) {
      if (charge.phase !== 'posted' || (await this.#isDone(moveId('refund', job)))) continue
      await this.#once(async () => {
        const names = [held, 'pool', 'treasury', 'refund_reserve', ...(stake === undefined ? [] : [stake])]
        const parts = planRefund({ legs: charge.to, held, stake, available: await this.#available(names) })
        return parts.map(({ from, amount }, n) => {
          const id = n === 0 ? moveId('refund', job) : moveId('refund', job, from)
          return { ...this.#move('refund', from, charge.from, amount, conviction, id), job }
        })
      })
    }
  }

  /**
   * What is left of slashes whose answers nobody can look at any more: the cost of looking, and the rest is burnt. All convictions of a
   * worker together, when the last is old enough: what went to users or back to it is counted once.
   */
  async spendSlashed(): Promise<void> {
    const { database, runtime } = this.#o
    await this.#alone(async () => {
      const now = runtime.now()
      for (const { id, about, at } of lastSlashes(await scanSlashes(database.sql, now))) {
        if (at > now - ledgerLimits.slashKeptMs) continue
        const [spent, burnt] = [moveId('cost', about.workerId, id), moveId('burn', about.workerId, id)]
        if ((await this.#isDone(spent)) || (await this.#isDone(burnt))) continue
        if (await this.#o.hasOpenAppeal(about.workerId)) continue
        const left = await this.#leftInReserve(about.workerId)
        const has = (await this.#available(['refund_reserve'])).get('refund_reserve') ?? 0n
        const rest = left < has ? left : has
        if (rest <= 0n) continue
        const asked = await this.#o.checksCost(about.workerId)
        const cost = asked < rest ? asked : rest
        await this.#once(() => [
          ...(cost > 0n ? [this.#move('slash', 'refund_reserve', 'pool', cost, about, spent)] : []),
          ...(rest > cost ? [this.#move('slash', 'refund_reserve', 'issuance', rest - cost, about, burnt)] : []),
        ])
      }
    })
  }

  /**
   * After a granted appeal: what was taken from the worker and from its operator's stake goes back, once; out of the reserve, and what is
   * short is the pool's debt. Users keep what they got: the mistake was not theirs.
   */
  async payBack(appeal: Conviction): Promise<void> {
    for (const [from, amount] of await this.#takenFrom(appeal.workerId)) {
      const id = moveId('restitution', appeal.id, from)
      if (await this.#isDone(id)) continue
      const to = from.replace(/^held:/, 'worker:')
      await this.#once(async () => {
        const has = (await this.#available(['refund_reserve'])).get('refund_reserve') ?? 0n
        const reserve = has < amount ? has : amount
        const parts = [
          { source: 'refund_reserve', part: reserve },
          { source: 'debt', part: amount - reserve },
        ].filter(({ part }) => part > 0n)
        return parts.map(({ source, part }, n) =>
          this.#move(
            'restitution',
            source,
            to,
            part,
            appeal,
            n === 0 ? id : moveId('restitution', appeal.id, from, source),
          ),
        )
      })
    }
  }

  /** What slashes and refunds took out of a worker's earnings and its operator's stake, less what went back before. */
  async #takenFrom(workerId: string): Promise<Map<string, bigint>> {
    const taken = new Map<string, bigint>()
    const add = (account: string, amount: bigint) => taken.set(account, (taken.get(account) ?? 0n) + amount)
    for (const row of await this.#movesAbout(workerId)) {
      const isBack = row.kind === 'restitution'
      const account = isBack ? row.to[0]?.account.replace(/^worker:/, 'held:') : row.from
      if (account?.startsWith('held:') || account?.startsWith('stake:')) add(account, isBack ? -row.amount : row.amount)
    }
    return new Map([...taken].filter(([, amount]) => amount > 0n))
  }

  /** What slashes of this worker brought into the reserve, less what left it because of them. */
  async #leftInReserve(workerId: string): Promise<bigint> {
    let left = 0n
    for (const { from, to, amount } of await this.#movesAbout(workerId)) {
      if (to[0]?.account === 'refund_reserve') left += amount
      else if (from === 'refund_reserve') left -= amount
    }
    return left
  }

  async #movesAbout(workerId: string): Promise<TransferRow[]> {
    const rows = await scanTaken(this.#o.database.sql, Buffer.from(workerId, 'hex'))
    return rows.filter((row) => whoseMove(row)?.workerId === workerId)
  }

  #move(
    kind: MoveKind,
    from: string,
    to: string,
    amount: bigint,
    { workerId, because }: Pick<Conviction, 'workerId' | 'because'>,
    id = this.#o.runtime.uuid(),
  ) {
    const worker = Buffer.from(workerId, 'hex')
    return { kind, from, to, amount, id, worker, job: null, because, at: this.#o.runtime.now() }
  }

  async #isDone(id: string): Promise<boolean> {
    return (await readTransfers(this.#o.database.sql, [id])).has(id)
  }

  async #available(names: readonly string[]): Promise<Map<string, bigint>> {
    const rows = await this.#o.database.sql<{ name: string; available: bigint }[]>`
      select name, posted - held as available from accounts where name = any (${[...names]}::text[])`
    return new Map(rows.map(({ name, available }) => [name, available]))
  }

  /** Tries again when somebody else was paid from the same account meanwhile. Another process may have been quicker. */
  async #once(plan: () => Parameters<typeof signMoves>[1] | Promise<Parameters<typeof signMoves>[1]>): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const ops = signMoves(this.#o, await plan())
      const outcome = ops.length === 0 ? undefined : await this.#o.submit(ops)
      if (!outcome || outcome.applied || outcome.code === ledgerCodes.conflict) return
      const again = outcome.code === ledgerCodes.insufficient_credit && attempt < ledgerLimits.moveAttemptsMax
      if (!again) throw new Error(`a move of the pool was refused: ${outcome.stage} ${outcome.code}`)
    }
  }

  /** Does the work unless another process of the pool is at it. */
  async #alone(work: () => Promise<void>): Promise<void> {
    const connection = await fromDatabase(this.#o.database.connect())
    try {
      const [row] = await connection.tx<{ mine: boolean }[]>`select pg_try_advisory_lock(${lockKey}::bigint) as mine`
      if (row?.mine) await work()
    } finally {
      await connection.close()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#timer.cancel()
    await this.#round
  }
}
