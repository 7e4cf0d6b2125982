import { z } from 'zod'
import { type Identity, sha256 } from '#crypto'
import type { PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import { factLimits } from '../limits.ts'
import type { Heard } from '../receiver.ts'
import { type Answer, answerNo, answerYes, type SignedRoute } from '../signed-route.ts'
import type { Facts } from './facts.ts'
import { Sketch, shortIds } from './sketch.ts'

/** What bonded pools ask each other about facts. */
export const factPaths = {
  tail: '/v1/federation/facts/tail',
  sketch: '/v1/federation/facts/sketch',
  get: '/v1/federation/facts/get',
} as const

const tailSchema = z.object({ after: z.string().regex(/^(0|[1-9]\d{0,17})$/, 'a whole number in decimal') })
const sketchSchema = z.object({
  from: z.int().min(0).max(factLimits.cellsMax),
  count: z.int().min(1).max(factLimits.cellsPerRoundMax),
})
const getSchema = z.object({
  key: z.base64().length(44),
  ids: z.base64().max(Math.ceil((factLimits.idsPerRoundMax * 32) / 3)),
})

interface Prepared {
  readonly state: string
  readonly key: Buffer
  readonly hashes: readonly Buffer[]
  readonly ids: Uint32Array
  sketch: Sketch
}

/** Answers what bonded pools ask about this pool's facts. It gives, and takes nothing: who wants facts, asks. */
export class FactDesk {
  readonly #facts: Facts
  readonly #identity: Pick<Identity, 'sign'>
  readonly #runtime: Runtime
  /** By asker, the most recently used last. */
  readonly #prepared = new Map<PoolId, Prepared>()
  readonly #running = new Map<PoolId, number>()

  constructor(facts: Facts, identity: Pick<Identity, 'sign'>, runtime: Runtime) {
    this.#facts = facts
    this.#identity = identity
    this.#runtime = runtime
  }

  /** The signed routes, by path. */
  routes(): [string, SignedRoute][] {
    const route = <S extends z.ZodType>(
      schema: S,
      reply: (asker: PoolId, body: z.infer<S>) => Promise<Answer>,
    ): SignedRoute => ({ trustMin: 3, bucket: 'facts', reply: (heard) => this.#fewAtOnce(heard, schema, reply) })
    return [
      [factPaths.tail, route(tailSchema, (asker, { after }) => this.#tail(asker, BigInt(after)))],
      [factPaths.sketch, route(sketchSchema, (asker, body) => this.#cells(asker, body))],
      [factPaths.get, route(getSchema, (asker, body) => this.#get(asker, body))],
    ]
  }

  async #fewAtOnce<S extends z.ZodType>(
    { envelope, verified }: Heard,
    schema: S,
    reply: (asker: PoolId, body: z.infer<S>) => Promise<Answer>,
  ): Promise<Answer> {
    if (envelope.version !== 2) return answerNo(400, 'facts are told in version 2')
    const read = schema.safeParse(verified.body)
    if (!read.success) return answerNo(400, `invalid ${read.error.issues[0]?.path.join('.')}`)
    const asker = envelope.sender
    const running = this.#running.get(asker) ?? 0
    if (running >= factLimits.roundsAtOnceMax) return answerNo(429, 'too many questions at once', ['retry-after', '1'])
    this.#running.set(asker, running + 1)
    try {
      return await reply(asker, read.data)
    } finally {
      const left = (this.#running.get(asker) ?? 1) - 1
      if (left > 0) this.#running.set(asker, left)
      else this.#running.delete(asker)
    }
  }

  async #tail(asker: PoolId, after: bigint): Promise<Answer> {
    const { wires, next, more } = await this.#facts.tail(asker, after, factLimits.roundBytesMax)
    return answerYes({ facts: wires.map(base64), next: String(next), more })
  }

  async #cells(asker: PoolId, { from, count }: z.infer<typeof sketchSchema>): Promise<Answer> {
    const prepared = await this.#prepare(asker, from === 0)
    if (from !== prepared.sketch.given) prepared.sketch = new Sketch(prepared.ids)
    if (from > 0 && prepared.sketch.given === 0) prepared.sketch.take(from)
    const cells = prepared.sketch.take(count).toBytes()
    return answerYes({ key: prepared.key.toString('base64'), cells: cells.toString('base64') })
  }

  async #get(asker: PoolId, { key, ids }: z.infer<typeof getSchema>): Promise<Answer> {
    const prepared = await this.#prepare(asker, false)
    if (prepared.key.toString('base64') !== key) return answerNo(409, 'the ids are of another day')
    const wanted = Buffer.from(ids, 'base64')
    if (wanted.length % 8 !== 0) return answerNo(400, 'invalid ids')
    const byHigh = new Map<number, number[]>()
    for (let at = 0; at < wanted.length; at += 8) {
      const high = wanted.readUInt32BE(at)
      byHigh.set(high, [...(byHigh.get(high) ?? []), wanted.readUInt32BE(at + 4)])
    }
    const hashes = prepared.hashes.filter((_, n) =>
      byHigh.get(prepared.ids[2 * n] as number)?.includes(prepared.ids[2 * n + 1] as number),
    )
    const wires: Buffer[] = []
    let left: number = factLimits.roundBytesMax
    for (const wire of await this.#facts.wiresOf(hashes.slice(0, factLimits.idsPerRoundMax))) {
      left -= wire.length
      if (left >= 0) wires.push(wire)
    }
    return answerYes({ facts: wires.map(base64) })
  }

  /** What a sketch for this asker is made of: kept as long as nothing was added; a new comparison looks whether something was. */
  async #prepare(asker: PoolId, fresh: boolean): Promise<Prepared> {
    const key = this.#keyFor(asker)
    const known = this.#prepared.get(asker)
    const state = known && !fresh ? known.state : await this.#facts.state()
    this.#prepared.delete(asker)
    if (known?.state === state && known.key.equals(key)) {
      this.#prepared.set(asker, known)
      return known
    }
    const hashes = await this.#facts.hashes()
    const ids = shortIds(hashes, key)
    const prepared: Prepared = { state, key, hashes, ids, sketch: new Sketch(ids) }
    this.#prepared.set(asker, prepared)
    const [oldest] = this.#prepared.keys()
    if (oldest !== undefined && this.#prepared.size > factLimits.sketchesMax) this.#prepared.delete(oldest)
    return prepared
  }

  /** One for each asker and day, the same in every process of the pool, and known to nobody else. */
  #keyFor(asker: PoolId): Buffer {
    const day = Math.floor(this.#runtime.now() / 86_400_000)
    return sha256(this.#identity.sign(Buffer.from(`lichen-fact-ids/1\n${asker}\n${day}\n`)))
  }
}

const base64 = (bytes: Buffer) => bytes.toString('base64')
