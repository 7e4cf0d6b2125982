import type { Identity, PublicKeyHandle } from '#crypto'
import { insertAct } from '#log'
import { PoolError, type PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import { bigints, booleans, bytes, type Database, numbers, type Sql, type Tx, texts } from '#storage'
import { factLimits } from '../limits.ts'
import {
  type Fact,
  type FactRefusal,
  isBefore,
  nextStamp,
  readFact,
  type SignedFact,
  type Stamp,
  signFact,
  whyRefused,
} from './fact.ts'
import { countingFacts, type Fault, faultsOf, type NamedFact, standsOver } from './merge.ts'

export interface FactsOptions {
  readonly database: Database
  readonly runtime: Runtime
  readonly identity: Identity
  /** The key of a known pool that is not revoked. */
  readonly keyOf: (author: PoolId) => PublicKeyHandle | Buffer | undefined
  /** Of this pool's log. */
  readonly generation: () => Promise<number>
  /** After the commit: facts that are new here, this pool's own included. */
  readonly onKept?: (facts: readonly SignedFact[]) => Promise<void>
  readonly onFault?: (fault: Fault) => Promise<void>
}

/** What came of a handful of facts. */
export interface Taken {
  readonly kept: readonly SignedFact[]
  readonly refused: readonly { readonly hash: string | undefined; readonly code: FactRefusal }[]
}

interface NameRow {
  hash: Buffer
  author: PoolId
  generation: number
  kind: string
  name: string
  ms: bigint
  count: number
  prev: Buffer | null
  discarded: boolean
}

/** The facts a pool holds, its own and those of others. Several processes may add to them at once. */
export class Facts {
  readonly #o: FactsOptions
  readonly self: PoolId

  constructor(options: FactsOptions) {
    this.#o = options
    this.self = options.identity.id as PoolId
  }

  /** Says something under one of this pool's names; null takes it back. Undefined: it says so already. */
  async publish(kind: string, name: string, value: Buffer | null, expires: number | null = null) {
    const { database, runtime, identity, generation } = this.#o
    const ours = await generation()
    const fact = await database.transaction(async (tx) => {
      await lockAuthor(tx, this.self)
      const [standing] = await tx<{ wire: Buffer }[]>`
        select wire from facts where author = ${this.self} and kind = ${kind} and name = ${name}
         order by ms desc, count desc limit 1`
      const now = standing && reread(standing.wire)
      if (now ? sameValue(now, value, expires) : value === null) return undefined
      const last = await newestOf(tx, this.self)
      const fact = signFact(
        {
          author: this.self,
          generation: Math.max(ours, last?.generation ?? 1),
          kind,
          name,
          value,
          ...nextStamp(runtime.now(), last),
          prev: last?.hash ?? null,
          expires,
        },
        identity,
      )
      await this.#insert(tx, [fact], this.self)
      return fact
    })
    if (fact) await this.#o.onKept?.([fact])
    return fact
  }

  /** Facts that another pool brought: each is judged, whoever brought it. */
  async take(via: PoolId, wires: readonly Buffer[]): Promise<Taken> {
    const now = this.#o.runtime.now()
    const refused: { hash: string | undefined; code: FactRefusal }[] = []
    const read = new Map<string, SignedFact>()
    for (const wire of wires) {
      const one = readFact(wire)
      if (one.ok) read.set(one.fact.hash, one.fact)
      else refused.push({ hash: undefined, code: one.code })
    }
    for (const hash of await this.#known([...read.keys()])) read.delete(hash)
    for (const fact of read.values()) {
      const code = whyRefused(fact, this.#keyOf(fact.author), now)
      if (!code) continue
      refused.push({ hash: fact.hash, code })
      read.delete(fact.hash)
    }
    const kept: SignedFact[] = []
    const faults: Fault[] = []
    for (const [author, facts] of byAuthor([...read.values()])) {
      const done = await this.#o.database.transaction((tx) => this.#add(tx, author, facts, via))
      kept.push(...done.kept)
      faults.push(...done.faults)
      refused.push(...done.refused)
    }
    if (refused.length > 0 && via !== this.self) await this.#quarantine(via, refused, read)
    if (kept.length > 0) await this.#o.onKept?.(kept)
    for (const fault of faults) await this.#o.onFault?.(fault)
    return { kept, refused }
  }

  /** What came here after a place in the order, without what `asker` said or brought itself. */
  async tail(
    asker: PoolId,
    after: bigint,
    bytesMax: number,
  ): Promise<{ wires: Buffer[]; next: bigint; more: boolean }> {
    const rows = await this.#o.database.sql<{ pos: bigint; wire: Buffer | null }[]>`
      select pos, case when via <> ${asker} and author <> ${asker} then wire end as wire
        from facts where pos > ${after} order by pos limit ${factLimits.tailFactsMax}`
    const wires: Buffer[] = []
    let next = after
    let size = 0
    for (const { pos, wire } of rows) {
      size += wire?.length ?? 0
      if (size > bytesMax) return { wires, next, more: true }
      if (wire) wires.push(wire)
      next = pos
    }
    return { wires, next, more: rows.length === factLimits.tailFactsMax }
  }

  /** Hashes of everything that is held, for a sketch. */
  async hashes(): Promise<Buffer[]> {
    return (await this.#o.database.sql<{ hash: Buffer }[]>`select hash from facts`).map(({ hash }) => hash)
  }

  /** How many, and the place of the newest: the same as before means nothing was added. */
  async state(): Promise<string> {
    const [row] = await this.#o.database.sql<{ n: bigint; last: bigint }[]>`
      select coalesce(sum(facts), 0)::bigint as n, coalesce((select max(pos) from facts), 0) as last from fact_authors`
    return `${row?.n} ${row?.last}`
  }

  async wiresOf(hashes: readonly Buffer[]): Promise<Buffer[]> {
    const rows = await this.#o.database.sql<{ wire: Buffer }[]>`
      select wire from facts where hash = any(${bytes(hashes)}::bytea[])`
    return rows.map(({ wire }) => wire)
  }

  /** What is refused of this peer for now. */
  async quarantined(peer: PoolId): Promise<Buffer[]> {
    const now = new Date(this.#o.runtime.now())
    const rows = await this.#o.database.sql<{ hash: Buffer }[]>`
      select hash from fact_quarantine where peer_id = ${peer} and until > ${now} limit ${factLimits.quarantineMax}`
    return rows.map(({ hash }) => hash)
  }

  /** What stands under each name, of one kind or all; by author, kind and name. */
  async view(kind?: string, limit: number = factLimits.viewMax): Promise<SignedFact[]> {
    const { sql } = this.#o.database
    const now = this.#o.runtime.now()
    const rows = await sql<{ wire: Buffer }[]>`
      select wire from facts where counts and ${kind === undefined ? sql`true` : sql`kind = ${kind}`}
       order by author, kind, name, ms, count limit ${factLimits.viewRowsMax}`
    const standing = new Map<string, SignedFact>()
    for (const { wire } of rows) {
      const fact = reread(wire)
      const key = `${fact.author} ${fact.kind} ${fact.name}`
      const other = standing.get(key)
      if (!other || standsOver(fact, other)) standing.set(key, fact)
    }
    return [...standing.values()].filter((fact) => isThere(fact, now)).slice(0, limit)
  }

  /** Contradictions nobody has decided. */
  async faults(): Promise<(Fault & { readonly foundAt: number })[]> {
    const rows = await this.#o.database.sql<
      { first: Buffer; second: Buffer; author: PoolId; kind: Fault['kind']; found_at: number }[]
    >`select * from fact_faults order by found_at, first limit ${factLimits.viewMax}`
    return rows.map(({ first, second, author, kind, found_at }) => ({
      author,
      kind,
      facts: [first.toString('hex'), second.toString('hex')],
      foundAt: found_at,
    }))
  }

  /**
   * A human puts a fact aside, with all that go on from it: what its author said besides counts again.
   * @throws PoolError not_found.
   */
  async discard(hash: string, by: string): Promise<void> {
    await this.#o.database.transaction(async (tx) => {
      const [row] = await tx<{ author: PoolId }[]>`select author from facts where hash = ${Buffer.from(hash, 'hex')}`
      if (!row) throw new PoolError('not_found', 'There is no such fact here.', 'See `lichen fed faults`.')
      await lockAuthor(tx, row.author)
      await tx`update facts set discarded = true where hash = ${Buffer.from(hash, 'hex')}`
      await this.#recompute(tx, row.author)
      await insertAct(tx, { actor: by, action: 'fact.discard', subject: hash, details: { author: row.author } })
    })
  }

  /** Forgets what was replaced, has expired or was taken back long ago. Returns how many. */
  async forget(): Promise<number> {
    const now = this.#o.runtime.now()
    const [replaced, back] = [now - factLimits.replacedMs, now - factLimits.takenBackMs]
    const { sql } = this.#o.database
    const now0 = new Date(now)
    await sql`delete from fact_quarantine where until < ${now0}`
    const rows = await sql<{ author: string }[]>`
      with gone as (
        delete from facts f
         where not exists (select from fact_faults a where f.hash in (a.first, a.second)) and not f.discarded
           and ((f.ms < ${replaced} and f.kind <> all(${texts(['revocation', 'slash', 'fork'])}::text[]) and exists (
                  select from facts n where n.author = f.author and n.kind = f.kind and n.name = f.name and n.counts
                     and (n.ms, n.count) > (f.ms, f.count)))
             or (f.expires is not null and f.expires < ${replaced})
             or (f.taken_back and f.ms < ${back}))
           -- the newest of its author is what the next one goes on from
           and exists (select from facts n where n.author = f.author and (n.ms, n.count) > (f.ms, f.count))
        returning author)
      update fact_authors a set facts = a.facts - g.n
        from (select author, count(*)::int as n from gone group by author) g where g.author = a.author
      returning repeat('x', g.n) as author`
    return rows.reduce((sum, { author }) => sum + author.length, 0)
  }

  #keyOf(author: PoolId) {
    return author === this.self ? this.#o.identity.publicKey : this.#o.keyOf(author)
  }

  async #known(hashes: readonly string[]): Promise<Set<string>> {
    const all = hashes.map((hash) => Buffer.from(hash, 'hex'))
    const rows = await this.#o.database.sql<{ hash: Buffer }[]>`
      select hash from facts where hash = any(${bytes(all)}::bytea[])`
    return new Set(rows.map(({ hash }) => hash.toString('hex')))
  }

  async #add(tx: Tx, author: PoolId, facts: readonly SignedFact[], via: PoolId) {
    const held = await lockAuthor(tx, author)
    const refused: { hash: string; code: FactRefusal }[] = []
    const kept: SignedFact[] = []
    for (const fact of facts) {
      const code = held + kept.length >= factLimits.factsPerAuthorMax ? 'author_full' : await this.#whyStale(tx, fact)
      if (code) refused.push({ hash: fact.hash, code })
      else kept.push(fact)
    }
    const faults = await this.#insert(tx, kept, via)
    return { kept, faults, refused }
  }

  /** Old, and replaced here by a newer one: this pool may have forgotten it already. */
  async #whyStale(tx: Tx, fact: SignedFact): Promise<FactRefusal | undefined> {
    const now = this.#o.runtime.now()
    if (fact.expires !== null && fact.expires < now - factLimits.replacedMs) return 'stale'
    if (fact.ms >= now - factLimits.replacedMs) return undefined
    if (fact.value === null && fact.ms < now - factLimits.takenBackMs) return 'stale'
    const rows = await tx`
      select 1 from facts where author = ${fact.author} and kind = ${fact.kind} and name = ${fact.name} and counts
         and (ms, count) > (${fact.ms}, ${fact.count}) limit 1`
    return rows.length > 0 ? 'stale' : undefined
  }

  /** Writes facts of one author whose row is locked; returns faults that are new. */
  async #insert(tx: Tx, facts: readonly SignedFact[], via: PoolId): Promise<Fault[]> {
    const [first] = facts
    if (!first) return []
    const column = <T>(of: (fact: SignedFact) => T) => facts.map(of)
    const rows = await tx`
      insert into facts (hash, author, generation, kind, name, ms, count, prev, expires, taken_back, wire, via, received_at, counts)
      select f.hash, ${first.author}, f.generation, f.kind, f.name, f.ms, f.count, f.prev, f.expires, f.back, f.wire, ${via}, ${new Date(this.#o.runtime.now())}, false
        from unnest(${bytes(column(({ hash }) => Buffer.from(hash, 'hex')))}::bytea[],
          ${numbers(column(({ generation }) => generation))}::int[], ${texts(column(({ kind }) => kind))}::text[],
          ${texts(column(({ name }) => name))}::text[], ${bigints(column(({ ms }) => ms))}::bigint[],
          ${numbers(column(({ count }) => count))}::int[],
          ${bytes(column(({ prev }) => (prev === null ? null : Buffer.from(prev, 'hex'))))}::bytea[],
          ${bigints(column(({ expires }) => expires))}::bigint[], ${booleans(column(({ value }) => value === null))}::boolean[],
          ${bytes(column(({ wire }) => wire))}::bytea[])
          as f (hash, generation, kind, name, ms, count, prev, expires, back, wire)
      on conflict do nothing returning hash`
    await tx`update fact_authors set facts = facts + ${rows.length} where author = ${first.author}`
    return this.#recompute(tx, first.author)
  }

  /** Which facts of an author count, and what contradicts itself, from all of them: the same whatever came first. */
  async #recompute(tx: Tx, author: PoolId): Promise<Fault[]> {
    const rows = await tx<NameRow[]>`
      select hash, author, generation, kind, name, ms, count, prev, discarded from facts where author = ${author}`
    const facts = new Map<string, NamedFact>()
    const discarded = new Set<string>()
    for (const row of rows) {
      const hash = row.hash.toString('hex')
      facts.set(hash, { ...row, hash, ms: Number(row.ms), prev: row.prev?.toString('hex') ?? null })
      if (row.discarded) discarded.add(hash)
    }
    const counting = countingFacts(facts, discarded).map(({ hash }) => Buffer.from(hash, 'hex'))
    await tx`
      update facts set counts = not counts
       where author = ${author} and counts <> (hash = any(${bytes(counting)}::bytea[]))`
    return this.#writeFaults(tx, author, faultsOf(facts, discarded))
  }

  async #writeFaults(tx: Tx, author: PoolId, faults: readonly Fault[]): Promise<Fault[]> {
    const pairs = faults.map(({ facts: [a, b] }) => a + b)
    await tx`
      delete from fact_faults where author = ${author}
         and encode(first, 'hex') || encode(second, 'hex') <> all(${texts(pairs)}::text[])`
    const fresh: Fault[] = []
    for (const fault of faults.slice(0, factLimits.faultsPerAuthorMax)) {
      const [first, second] = fault.facts.map((hash) => Buffer.from(hash, 'hex'))
      const rows = await tx`
        insert into fact_faults (first, second, author, kind, found_at)
        values (${first ?? ''}, ${second ?? ''}, ${author}, ${fault.kind}, ${new Date(this.#o.runtime.now())})
        on conflict do nothing returning kind`
      if (rows.length > 0) fresh.push(fault)
    }
    return fresh
  }

  async #quarantine(peer: PoolId, refused: Taken['refused'], read: ReadonlyMap<string, SignedFact>): Promise<void> {
    const now = this.#o.runtime.now()
    for (const { hash, code } of refused) {
      if (hash === undefined) continue
      const until = new Date(Math.max(now + factLimits.quarantineMs, read.get(hash)?.ms ?? 0))
      await this.#o.database.sql`
        insert into fact_quarantine (peer_id, hash, code, until)
        select ${peer}, ${Buffer.from(hash, 'hex')}, ${code}, ${until}
         where (select count(*) from fact_quarantine where peer_id = ${peer}) < ${factLimits.quarantineMax}
        on conflict do nothing`
    }
  }
}

/** Whether it says something now: not taken back, not expired. */
function isThere({ value, expires }: Fact, now: number): boolean {
  return value !== null && (expires === null || expires > now)
}

function sameValue(standing: SignedFact, value: Buffer | null, expires: number | null): boolean {
  if (standing.expires !== expires) return false
  return value === null ? standing.value === null : (standing.value?.equals(value) ?? false)
}

/** What was written here was read before. */
function reread(wire: Buffer): SignedFact {
  const read = readFact(wire)
  if (!read.ok) throw new Error(`the table of facts holds what nobody can read: ${read.code}`)
  return read.fact
}

function byAuthor(facts: readonly SignedFact[]): [PoolId, SignedFact[]][] {
  const groups = new Map<PoolId, SignedFact[]>()
  for (const fact of facts) {
    const group = groups.get(fact.author)
    if (group) group.push(fact)
    else groups.set(fact.author, [fact])
  }
  return [...groups].map(([author, group]) => [author, group.sort((a, b) => (isBefore(a, b) ? -1 : 1))])
}

/** Nobody else adds facts of this author until the end of the transaction. Returns how many there are. */
async function lockAuthor(tx: Tx, author: PoolId): Promise<number> {
  await tx`insert into fact_authors (author, facts) values (${author}, 0) on conflict do nothing`
  const [row] = await tx<{ facts: number }[]>`select facts from fact_authors where author = ${author} for update`
  return row?.facts ?? 0
}

async function newestOf(sql: Sql | Tx, author: PoolId) {
  const [row] = await sql<{ hash: Buffer; ms: bigint; count: number; generation: number }[]>`
    select hash, ms, count, generation from facts where author = ${author} and not discarded order by ms desc, count desc limit 1`
  const stamp: Stamp | undefined = row && { ms: Number(row.ms), count: row.count }
  return row && stamp && { ...stamp, hash: row.hash.toString('hex'), generation: row.generation }
}
