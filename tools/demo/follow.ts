import type { Neighbourhood } from '../../src/testkit/neighbourhood.ts'
import type { Player } from './players.ts'

/** How a player stands at this moment. Money is in micro-credits. */
export interface PlayerNow extends Player {
  /** Looks at its answers that ended. */
  readonly checked: number
  readonly hits: number
  readonly phase: string
  /** Earned and not yet paid out. */
  readonly held: bigint
  /** Taken from it by convictions, for its users and the pool. */
  readonly taken: bigint
}

interface Verification {
  readonly id: string
  readonly worker: string
  readonly state: string
}
interface Reputation {
  readonly worker: string
  readonly duty: string
  readonly phase: string
}
interface Page<T> {
  readonly data: readonly T[]
  readonly has_more: boolean
}
interface Account {
  readonly account: string
  readonly posted: string
}
interface Entry {
  readonly kind: string
  readonly amount: string
}

interface Counts {
  readonly checked: number
  readonly hits: number
}
const none: Counts = { checked: 0, hits: 0 }

const pageSize = 500
const endedStates: readonly string[] = ['clean', 'hit', 'waived']

/** Reads what the pool's admin can read of its workers, again and again; what has ended is read once. */
export class Follower {
  readonly #town: Neighbourhood
  readonly #players: readonly Player[]
  readonly #settled = new Map<string, Counts>()
  #after: string | undefined

  constructor(town: Neighbourhood, players: readonly Player[]) {
    this.#town = town
    this.#players = players
  }

  async look(): Promise<readonly PlayerNow[]> {
    const counts = await this.#readChecks()
    const standings = await this.#page<Reputation>('/worker_reputation')
    const accounts = await this.#page<Account>('/ledger/accounts')
    return Promise.all(
      this.#players.map(async (player) => {
        const { checked, hits } = counts.get(player.id) ?? none
        const phase = standings.data.find(({ worker, duty }) => worker === player.id && duty === 'serve')?.phase
        const name = `held:${player.id}`
        const held = BigInt(accounts.data.find(({ account }) => account === name)?.posted ?? 0)
        const taken = phase === 'convicted' ? await this.#takenFrom(name) : 0n
        return { ...player, checked, hits, phase: phase ?? 'new', held, taken }
      }),
    )
  }

  /** Looks that ended, by worker. Up to the first that has not, they are read once; those after it are read again next time. */
  async #readChecks(): Promise<ReadonlyMap<string, Counts>> {
    let counts: Map<string, Counts> = this.#settled
    let from = this.#after
    let isSettled = true
    for (;;) {
      const after = from === undefined ? '' : `&after=${from}`
      const { data, has_more } = await this.#page<Verification>('/inference_verifications', after)
      for (const { id, worker, state } of data) {
        from = id
        const hasEnded = endedStates.includes(state)
        if (isSettled && !hasEnded) {
          isSettled = false
          counts = new Map(counts)
        }
        if (isSettled) this.#after = id
        if (!hasEnded || state === 'waived') continue
        const { checked, hits } = counts.get(worker) ?? none
        counts.set(worker, { checked: checked + 1, hits: state === 'hit' ? hits + 1 : hits })
      }
      if (!has_more) return counts
    }
  }

  async #takenFrom(account: string): Promise<bigint> {
    const { data } = await this.#page<Entry>(`/ledger/accounts/${encodeURIComponent(account)}/history`)
    return data
      .filter(({ kind }) => kind === 'slash' || kind === 'refund')
      .reduce((sum, { amount }) => sum - BigInt(amount), 0n)
  }

  #page<T>(route: string, more = ''): Promise<Page<T>> {
    return this.#town.admin<Page<T>>('GET', `${route}?limit=${pageSize}${more}`)
  }
}
