import { canonicalize, type Identity } from '#crypto'
import type { PoolId } from '#protocol'
import { deadlineSignal, type Runtime, type Timer } from '#runtime'
import type { Database } from '#storage'
import type { Federation } from '../federation.ts'
import { factLimits } from '../limits.ts'
import { tokenFactKind } from '../tokens.ts'
import type { Fact, SignedFact } from './fact.ts'
import { FactDesk } from './fact-desk.ts'
import { Facts } from './facts.ts'
import { judgeSlash } from './judge-slash.ts'
import type { Fault } from './merge.ts'
import { Notices } from './notices.ts'
import { type Reconciled, reconcile, type Send } from './reconcile.ts'
import { type ShownLog, type ShowResult, showCheckpoint } from './show-checkpoint.ts'
import { SilentWitnesses } from './silent-witnesses.ts'
import { seenPath, Witness, witnessPath } from './witness.ts'

/** A model as this pool tells others about it. */
export interface ToldModel {
  readonly name: string
  /** sha256 of the model file in hex; null: unknown. */
  readonly digest: string | null
  /** Micro-credits for one token, in decimal. */
  readonly prompt: string
  readonly completion: string
}

/** What this pool has to say, as it stands now. */
export interface Sayings {
  readonly models: () => Promise<readonly ToldModel[]>
  /** Workers that were slashed here, with the receipt that proves it. */
  readonly slashes: () => Promise<readonly { readonly workerId: string; readonly receipt: Buffer }[]>
  /** Tokens of this pool's users that were revoked, by id, and when they end anyway (milliseconds since 1970). */
  readonly revokedTokens: () => Promise<readonly { readonly id: string; readonly until: number }[]>
}

export interface ExchangeOptions {
  readonly database: Database
  readonly runtime: Runtime
  readonly identity: Identity
  readonly federation: Pick<Federation, 'peers' | 'outbound' | 'records' | 'serve'>
  /** Whether anybody is to be called now. */
  readonly mayCall: () => boolean
  /** Of this pool's log. */
  readonly generation: () => Promise<number>
  readonly sayings: Sayings
  /** This pool's log, shown to witnesses. */
  readonly log?: ShownLog
  /** A witness has seen another history of this pool, or a longer one. */
  readonly onAccused?: (event: { readonly peer: PoolId; readonly problem: string }) => void
  /** A witness has not signed for {@link factLimits.witnessSilentMs} what there is to sign, or does so again. */
  readonly onSilence?: (event: { readonly peer: PoolId; readonly silent: boolean }) => void
  /** How peers are asked; over the one way out unless given. */
  readonly send?: Send
  readonly onExchanged?: (event: Reconciled & { readonly peer: PoolId }) => void
  readonly onProblem: (error: unknown) => void
}

/** Facts between this pool and its bonded peers: says what is new here, takes what is new there, tells humans what matters. */
export class FactExchange implements AsyncDisposable {
  readonly facts: Facts
  readonly notices: Notices
  readonly witness: Witness
  readonly #o: ExchangeOptions
  readonly #timer: Timer
  #early: Timer | undefined
  readonly #ending = new AbortController()
  #running: Promise<void> | undefined
  #toldAll = false
  /** The checkpoint each witness has signed last. */
  readonly #shown = new Map<PoolId, string>()
  readonly #silent = new SilentWitnesses()

  constructor(options: ExchangeOptions) {
    this.#o = options
    const { database, runtime, identity, federation } = options
    const { peers } = federation
    this.notices = new Notices(database, runtime)
    this.facts = new Facts({
      ...options,
      keyOf: (author) => {
        const peer = peers.get(author)
        return peer && !peer.revoked ? peer.key : undefined
      },
      onKept: (facts) => this.#tell(facts).catch(options.onProblem),
      onFault: (fault) => this.#tellFault(fault).catch(options.onProblem),
    })
    this.witness = new Witness({
      database,
      runtime,
      identity,
      peers,
      notices: this.notices,
      publish: (pool, proof) => this.facts.publish('fork', pool, proof),
    })
    federation.serve(witnessPath, { trustMin: 3, bucket: 'facts', reply: (heard) => this.witness.reply(heard) })
    federation.serve(seenPath, { trustMin: 3, bucket: 'facts', reply: (heard) => this.witness.replySeen(heard) })
    const desk = new FactDesk(this.facts, identity, runtime)
    for (const [path, route] of desk.routes()) federation.serve(path, route)
    this.#timer = runtime.every(factLimits.exchangeMs, () => this.#begin())
  }

  /** A round out of turn: trust has changed, and who is bonded now should not wait. The other side gets a moment to note it, too. */
  soon(): void {
    this.#early?.cancel()
    this.#early = this.#o.runtime.after(factLimits.soonMs, () => {
      this.#early = undefined
      if (this.#running) this.soon()
      else this.#begin()
    })
  }

  #begin(): void {
    if (this.#ending.signal.aborted) return
    this.#running ??= this.round()
      .catch(this.#o.onProblem)
      .finally(() => {
        this.#running = undefined
      })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#timer.cancel()
    this.#early?.cancel()
    this.#ending.abort(new Error('the pool stops'))
    await this.#running
  }

  /** Says what has changed here, then compares with every bonded peer, one after the other. */
  async round(): Promise<void> {
    await this.#tellAll()
    await this.say()
    await this.facts.forget()
    if (!this.#o.mayCall()) return
    const bonded = this.#o.federation.peers
      .list()
      .filter(({ trust, revoked, version }) => trust >= 3 && !revoked && version === 2)
    this.#silent.keep(new Set(bonded.map(({ id }) => id)))
    for (const { id } of bonded) {
      if (this.#ending.signal.aborted) return
      await this.exchange(id)
      await this.#showIfNew(id)
    }
  }

  async #showIfNew(id: PoolId): Promise<void> {
    const checkpoint = await this.#o.log?.checkpoint()
    if (checkpoint === undefined || this.#shown.get(id) === checkpoint) return
    const shown = await this.show(id)
    if (shown?.says === 'vouched') this.#shown.set(id, checkpoint)
    if (shown?.says === 'accused') this.#o.onAccused?.({ peer: id, problem: shown.problem })
    this.#noteSilence(id, shown?.says === 'unreachable')
  }

  #noteSilence(id: PoolId, missed: boolean): void {
    const { runtime, onSilence } = this.#o
    const changed = missed ? this.#silent.missed(id, runtime.monotonic()) : this.#silent.spoke(id)
    if (changed) onSilence?.({ peer: id, silent: missed })
  }

  /** Witnesses that have not signed for long what there is to sign, and since when (milliseconds since 1970). */
  silentWitnesses(): { readonly witness: PoolId; readonly since: number }[] {
    const { runtime } = this.#o
    const [now, mono] = [runtime.now(), runtime.monotonic()]
    return this.#silent.list().map(({ witness, since }) => ({ witness, since: now - (mono - since) }))
  }

  /** Shows this pool's newest checkpoint to a witness, and keeps its signature; undefined: there is no log, or no such pool. */
  async show(id: PoolId): Promise<ShowResult | undefined> {
    const { database, log, federation, identity, runtime } = this.#o
    const peer = federation.peers.get(id)
    if (!log || !peer) return undefined
    using deadline = deadlineSignal(
      runtime,
      factLimits.exchangeMsMax,
      new Error('the witness took too long'),
      this.#ending.signal,
    )
    return showCheckpoint(database, log, peer, identity.publicKey, this.#sender(), deadline.signal)
  }

  #sender(): Send {
    return this.#o.send ?? ((to, path, body, signal) => this.#send(to, path, body, signal))
  }

  /** Takes from one peer what this pool lacks. A peer that cannot be reached is tried again in the next round. */
  async exchange(peer: PoolId): Promise<Reconciled> {
    const { database, runtime, onExchanged } = this.#o
    using deadline = deadlineSignal(
      runtime,
      factLimits.exchangeMsMax,
      new Error('the comparison took too long'),
      this.#ending.signal,
    )
    const [cursor] = await database.sql<{ pos: bigint }[]>`select pos from fact_cursors where peer_id = ${peer}`
    const done = await reconcile(this.facts, peer, cursor?.pos ?? 0n, this.#sender(), deadline.signal)
    const now = new Date(runtime.now())
    const problem = done.problem?.slice(0, 300) ?? null
    await database.sql`
      insert into fact_cursors as c (peer_id, pos, synced_at, problem) values (${peer}, ${done.next}, ${now}, ${problem})
      on conflict (peer_id) do update set pos = excluded.pos, problem = excluded.problem,
        synced_at = case when excluded.problem is null then excluded.synced_at else c.synced_at end`
    onExchanged?.({ ...done, peer })
    return done
  }

  /** Models and prices, revoked pools and tokens, slashed workers: what is not said yet is said. */
  async say(): Promise<void> {
    const { sayings, federation } = this.#o
    await this.#sayModels(await sayings.models())
    for (const { id, revoked, succeededBy } of federation.peers.list())
      if (revoked && succeededBy === undefined) await this.facts.publish('revocation', id, Buffer.from('{}'))
    const told = new Set((await this.#own(tokenFactKind)).map(({ name }) => name))
    for (const { id, until } of await sayings.revokedTokens())
      if (!told.has(id)) await this.facts.publish(tokenFactKind, id, Buffer.from('{}'), until)
    const said = new Set((await this.#own('slash')).map(({ name }) => name))
    for (const { workerId, receipt } of await sayings.slashes())
      if (!said.has(workerId) && receipt.length < factLimits.factBytesMax - 1_024)
        await this.facts.publish('slash', workerId, receipt)
  }

  async #sayModels(models: readonly ToldModel[]): Promise<void> {
    const standing = new Map((await this.#own('model')).map((fact) => [fact.name, fact]))
    const rests = (fact: Fact | undefined) =>
      fact !== undefined && this.#o.runtime.now() - fact.ms < factLimits.modelFactMs
    for (const { name, ...rest } of models) {
      const said = standing.get(name)
      if (!rests(said) || hasOtherPrice(said, rest)) await this.facts.publish('model', name, canonicalize(rest))
      standing.delete(name)
    }
    for (const [name, fact] of standing) if (!rests(fact)) await this.facts.publish('model', name, null)
  }

  async #own(kind: string): Promise<SignedFact[]> {
    return (await this.facts.view(kind)).filter(({ author }) => author === this.facts.self)
  }

  #send(to: PoolId, path: string, body: object, signal: AbortSignal): ReturnType<Send> {
    const peer = this.#o.federation.peers.get(to)
    if (!peer) throw new Error('a pool nobody knows')
    return this.#o.federation.outbound.call(
      { url: peer.url, known: peer },
      { method: 'POST', target: path, body, signal },
    )
  }

  /** Once in the life of a process: what was kept by one that ended before it told anybody. */
  async #tellAll(): Promise<void> {
    if (!this.#toldAll)
      for (const kind of ['revocation', 'slash']) {
        const facts = await this.facts.view(kind)
        await this.#tell(facts.filter(({ author }) => author !== this.facts.self))
      }
    this.#toldAll = true
    await this.notices.refresh()
  }

  /** What a bonded pool says about pools and workers waits for a human; a slash whose evidence holds raises check rates until then. */
  async #tell(facts: readonly SignedFact[]): Promise<void> {
    const { peers, records } = this.#o.federation
    for (const fact of facts) {
      const { author, kind, name: subject, hash } = fact
      if ((peers.get(author)?.trust ?? 0) < 3) continue
      const about = { peer: author, subject, details: { fact: hash }, same: `${kind}:${author}:${subject}` }
      if (kind === 'revocation')
        await this.notices.open({
          ...about,
          kind,
          text: 'It has revoked the pool that this notice is about. Nothing follows from it here.',
        })
      if (kind !== 'slash') continue
      const verdict = judgeSlash(fact)
      const text = verdict.holds
        ? 'It has slashed this worker; the receipt in the fact verifies. Its answers are checked always, until somebody closes this.'
        : `It says it has slashed this worker, but the evidence does not hold: ${verdict.why}`
      const isNew = await this.notices.open({ ...about, kind, text, details: { fact: hash, ...verdict } })
      if (isNew && !verdict.holds) await records.note(author, 'mismatch', 'a slash without evidence')
    }
  }

  async #tellFault({ author, kind, facts: [first, second] }: Fault): Promise<void> {
    const what =
      kind === 'fork'
        ? 'two facts that go on from the same one'
        : 'a fact that is not later than the one it goes on from'
    await this.notices.open({
      kind: 'fault',
      peer: author,
      subject: author,
      text: `It has signed ${what}. What it said from there on counts for nothing until one side is put aside: lichen fed discard HASH.`,
      details: { first, second },
      same: `fault:${first}:${second}`,
    })
  }
}

/** A price is a human's word, told at once; files and models come and go with workers. */
function hasOtherPrice(said: Fact | undefined, now: Omit<ToldModel, 'name'>): boolean {
  const { prompt, completion } = JSON.parse(said?.value?.toString() ?? '{}') as Partial<ToldModel>
  return prompt !== now.prompt || completion !== now.completion
}
