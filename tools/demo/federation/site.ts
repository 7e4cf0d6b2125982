import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { freePort } from '../../../src/testkit/free-port.ts'
import { Neighbourhood } from '../../../src/testkit/neighbourhood.ts'
import { Road } from '../../../src/testkit/road.ts'

/** What one pool says to all others, as the other side would have to hold it, too. */
interface Fact {
  readonly hash: string
  readonly author: string
  readonly kind: string
  readonly name: string
  readonly value: string
}
interface Voucher {
  readonly witness: string | null
  readonly pool: string | null
  readonly size: number
}
interface Statement {
  readonly jobs: number
  readonly owed_to_us: string
  readonly owed_to_them: string
  readonly differences: readonly object[]
}
interface Page<T> {
  readonly data: readonly T[]
}

/** What became of the requests of one moment. */
export interface Served {
  answered: number
  failed: number
}

/** One pool with a worker of its own, and the road on which others come to it. */
export class Site implements AsyncDisposable {
  readonly name: string
  readonly model: string
  readonly town = new Neighbourhood()
  id = ''
  road!: Road
  readonly served: Served = { answered: 0, failed: 0 }
  #port = 0

  constructor(name: string, model: string) {
    this.name = name
    this.model = model
  }

  async makeRoad(): Promise<void> {
    this.#port = await freePort()
    this.road = await Road.open(() => this.#port)
  }

  /** `roads`: of all pools here; addresses of loopback are called only when they are named. */
  async start(modelFile: string, roads: readonly Road[]): Promise<void> {
    const port = ['--port', String(this.#port)]
    const names = ['--public-url', this.road.url, '--federation-name', this.name]
    const hosts = roads.map(({ url }) => `"${new URL(url).host}"`).join(', ')
    mkdirSync(this.town.dataDir, { mode: 0o700 })
    // in the file and not in the environment: `lichen audit --against` reads it, too
    writeFileSync(
      path.join(this.town.dataDir, 'lichen.toml'),
      `federation_http_hosts = [${hosts}]\nfederation_private_ranges = ["127.0.0.0/8"]\n`,
    )
    await this.town.start('up', [...port, ...names, '--model', modelFile])
    const info = await fetch(`${this.town.url}/v1/federation/info`)
    this.id = ((await info.json()) as { atom_id: string }).atom_id
  }

  /** As its human: jobs may go both ways, and an admin signs the bond on their own machine. */
  async trust(other: Site): Promise<void> {
    await this.town.admin('POST', `/federation/peers/${other.id}/promote`, { level: 2 })
    await this.town.bond(other.id, (await other.town.adminKey()).public_key)
  }

  async knows(other: Site): Promise<{ trust: number; their_level: number | null } | undefined> {
    const { data } = await this.town.admin<Page<{ id: string; trust: number; their_level: number | null }>>(
      'GET',
      '/federation/peers',
    )
    return data.find(({ id }) => id === other.id)
  }

  async facts(): Promise<readonly Fact[]> {
    return (await this.town.admin<Page<Fact>>('GET', '/federation/facts')).data
  }

  /** Leaves of this pool's log that the other one has signed for. */
  async vouchedBy(other: Site): Promise<number> {
    const { data } = await this.town.admin<Page<Voucher>>('GET', '/federation/witnesses')
    return Math.max(0, ...data.filter(({ witness }) => witness === other.id).map(({ size }) => size))
  }

  statement(other: Site): Promise<Statement> {
    return this.town.admin('POST', `/federation/peers/${other.id}/statement`)
  }

  /** The answer of a model, streamed, and the id of its receipt. */
  async ask(model: string, content: string): Promise<{ text: string; pieces: number; receipt: string }> {
    const { data, response } = await this.town
      .client({ timeout: 20_000 })
      .chat.completions.create({ model, messages: [{ role: 'user', content }], temperature: 0, stream: true })
      .withResponse()
    let [text, pieces] = ['', 0]
    for await (const chunk of data) {
      const piece = chunk.choices[0]?.delta.content ?? ''
      text += piece
      if (piece !== '') pieces++
    }
    return { text, pieces, receipt: response.headers.get('x-lichen-receipt') ?? '' }
  }

  /** Its own users, one request after the other, until `over`. */
  async serve(over: AbortSignal): Promise<void> {
    for (let n = 0; !over.aborted; n++) {
      try {
        await this.ask(this.model, `${n % 10}+${n % 7}=?`)
        this.served.answered++
      } catch {
        this.served.failed++
      }
      await new Promise((resolve) => setTimeout(resolve, 250))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.road[Symbol.asyncDispose]()
    await this.town[Symbol.asyncDispose]()
  }
}
