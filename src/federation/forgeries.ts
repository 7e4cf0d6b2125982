import type { PoolId } from '#protocol'
import type { EnvelopeVersion } from './envelope.ts'
import { federationLimits } from './limits.ts'
import { Rates } from './rates.ts'

/** Whose signature does not hold: a pool that is known here, or strangers, who are counted together. */
type Claimed = PoolId | 'strangers'

/**
 * Signatures that did not hold, counted for the network they came from, for the id of the pool they were sent under, and all together: for
 * known pools and for strangers apart, so that no stranger shuts a known pool out. Once one of these has had its share of a minute no further
 * signature is looked at. A pool is not shut out by others who flood under its id from everywhere:
 * in a network where its own signature has held only the count of that network matters.
 */
export class Forgeries {
  readonly #networks = new Rates(federationLimits.failuresPerMinute, federationLimits.sourcesMax)
  readonly #ids = new Rates(federationLimits.forgeriesPerMinute, federationLimits.peersMax)
  readonly #all = new Rates(federationLimits.forgeriesPerMinuteInAll, 2)
  /** Where a pool has proved itself, the latest last. */
  readonly #homes = new Map<PoolId, Set<string>>()

  /** Why a signature is not looked at now, undefined: it is. Milliseconds of a clock that only grows. */
  whyNotLookedAt(claimed: Claimed, network: string, now: number): 'network' | 'id' | 'all' | undefined {
    if (!this.#networks.has(network, now)) return 'network'
    if (this.#isHome(claimed, network)) return undefined
    if (claimed !== 'strangers' && !this.#ids.has(claimed, now)) return 'id'
    return this.#all.has(kindOf(claimed), now) ? undefined : 'all'
  }

  /** A signature did not hold. What it cost grows with the body it was said to be over. */
  failed(claimed: Claimed, network: string, now: number, bodyBytes: number): void {
    const cost = costOf(bodyBytes)
    this.#networks.take(network, now, cost)
    if (this.#isHome(claimed, network)) return
    if (claimed !== 'strangers') this.#ids.take(claimed, now, cost)
    this.#all.take(kindOf(claimed), now, cost)
  }

  /** A pool was here, without doubt. Version 1 names no audience, so others can repeat its words: it drives no network out. */
  proved(id: PoolId, network: string, version: EnvelopeVersion): void {
    const homes = this.#homes.get(id) ?? new Set()
    const isFull = homes.size >= federationLimits.networksPerPeerMax && !homes.has(network)
    if (isFull && version === 1) return
    homes.delete(network)
    if (isFull) homes.delete(homes.values().next().value as string)
    this.#homes.set(id, homes.add(network))
  }

  #isHome(claimed: Claimed, network: string): boolean {
    return claimed !== 'strangers' && this.#homes.get(claimed)?.has(network) === true
  }
}

/** For how many a signature over a body of this length counts. */
export const costOf = (bodyBytes: number) => 1 + Math.floor(bodyBytes / federationLimits.bytesPerFailure)

const kindOf = (claimed: Claimed) => (claimed === 'strangers' ? claimed : 'known')
