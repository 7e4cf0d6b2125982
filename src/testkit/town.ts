import { systemRuntime } from '#runtime'
import { type Database, openDatabase, runningPostgres } from '#storage'
import { freePort } from './free-port.ts'
import { eventually, Neighbourhood } from './neighbourhood.ts'
import { Road } from './road.ts'

interface Peer {
  id: string
  name: string
  trust: number
  reachable: boolean
  problem: string | null
  models: string[]
  record: { mismatches: number; last_why: string }
}

/** A pool as its people know it. */
export class Town extends Neighbourhood {
  id = ''
  /** How other pools reach this one. */
  road!: Road
  #port = 0

  async makeRoad(): Promise<void> {
    this.#port = await freePort()
    this.road = await Road.open(() => this.#port)
  }

  async open(command: 'up' | 'pool', name: string, more: Record<string, string>): Promise<void> {
    const args = ['--port', String(this.#port), '--public-url', this.road.url, '--federation-name', name]
    await this.start(command, args, { LICHEN_FEDERATION_PRIVATE_RANGES: '127.0.0.0/8', ...more })
    this.id = ((await (await fetch(`${this.url}/v1/federation/info`)).json()) as { atom_id: string }).atom_id
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.road[Symbol.asyncDispose]()
    await super[Symbol.asyncDispose]()
  }

  /** What stands here of what pools say, by hash. */
  async facts(): Promise<Map<string, { author: string; kind: string; value: string }>> {
    const { data } = await this.admin<{ data: { hash: string; author: string; kind: string; value: string }[] }>(
      'GET',
      '/federation/facts',
    )
    return new Map(data.map((fact) => [fact.hash, fact]))
  }

  peers(): Promise<Peer[]> {
    return this.admin<{ data: Peer[] }>('GET', '/federation/peers').then(({ data }) => data)
  }

  promote(id: string, level: number): Promise<object> {
    return this.admin('POST', `/federation/peers/${id}/promote`, { level })
  }

  toggle(name: 'accept' | 'forward', on: boolean): Promise<object> {
    return this.admin('POST', '/federation/toggles', { name, on, reason: '' })
  }

  /** Something in the database of the running pool. */
  async inBooks<T>(act: (books: Database) => Promise<T>): Promise<T> {
    const target = await runningPostgres(this.dataDir)
    if (!target) throw new Error('the database does not run')
    await using books = await openDatabase({ target, runtime: systemRuntime })
    return await act(books)
  }

  /** Looks now who another pool is and what it has, not at the next heartbeat. */
  async look(other: Town): Promise<void> {
    await this.admin('POST', `/federation/peers/${other.id}/ping`)
  }

  /** Who computed a job: the ids of workers, and of pools. Written down once it is over and every worker has signed. */
  async computedBy(job: string): Promise<string[]> {
    type Details = { ended_at: string | null; segments: { worker: string }[] }
    return eventually('the job to be on record', async () => {
      const { ended_at, segments } = await this.admin<Details>('GET', `/jobs/${job}`)
      return ended_at !== null && segments.map(({ worker }) => worker)
    })
  }

  /** What this pool owes another; below 0: what it is owed. */
  async owes(id: string): Promise<number> {
    const { data } = await this.admin<{ data: { account: string; posted: string }[] }>(
      'GET',
      '/ledger/accounts?limit=500',
    )
    return Number(data.find(({ account }) => account === `peer:${id}`)?.posted ?? 0)
  }
}

/** Of the demo model, without chance. */
export const ask = (content: string) => ({
  model: 'lichen-demo',
  messages: [{ role: 'user' as const, content }],
  temperature: 0,
})

/** Each may lend to the other. */
export async function befriend(one: Town, other: Town): Promise<void> {
  await one.cli('fed', 'add', other.road.url)
  await eventually('both to know each other', async () => (await other.peers()).some(({ id }) => id === one.id))
  await one.promote(other.id, 2)
  await other.promote(one.id, 2)
}

/** What a pool's client reads, and the name of its receipt. @throws what the official client throws. */
export async function answered(town: Town, content: string): Promise<{ text: string; receipt: string }> {
  const { data, response } = await town
    .client()
    .chat.completions.create({ ...ask(content), stream: true })
    .withResponse()
  let text = ''
  for await (const chunk of data) text += chunk.choices[0]?.delta.content ?? ''
  return { text, receipt: response.headers.get('x-lichen-receipt') ?? '' }
}
