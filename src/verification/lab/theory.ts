import assert from 'node:assert'
import { type ChartParams, chartDefaults, newCharts, updateCharts } from '#reputation'
import { type CheckProfile, checkProfiles, checkRatePpm } from '../sampling.ts'
import { excursionOf } from './excursion.ts'

export interface Suspect {
  /** Chance of a hit in each check, from the first request on, or from the one after `honestRequests` on. */
  readonly hit: number
  /** Requests that a turncoat answers honestly first, with hits in a share `honestHit` of its checks. */
  readonly honestRequests?: number
  readonly honestHit?: number
  readonly profile?: CheckProfile
  readonly params?: ChartParams
  /** Requests to look at, from the turn on. */
  readonly requestsMax?: number
}

/** When the alarm comes, counted in requests from the first, or from the turn. */
export interface Theory {
  /** Index n: chance that the n-th request raises it. */
  readonly alarmAt: Float64Array
  /** Chance that it comes within `requestsMax`. */
  readonly caught: number
  readonly mean: number
  readonly p95: number
  /** Expected checks until the alarm or `requestsMax`, and the requests they are a part of. */
  readonly checks: number
  readonly requests: number
}

/** Chance of still being there below which nothing is looked at any more. */
const overBelow = 1e-7

/**
 * The Markov chain of the rule as it stands: check rate 100 % at first, then 18/(clean + 1) down to the profile's, three charts, every
 * request checked while one of them is above zero.
 *
 * It takes the charts apart from the record: while all stand at zero only the number of clean checks matters; a hit begins
 * an excursion ({@link excursionOf}), in which every request is a check. The chart for the smallest cheat rate falls the
 * slowest for what a hit adds, so it is the last one back, and where it is back tells how many of the checks were hits.
 * Of the excursions that a turncoat's turn falls into (fewer than 1 %) those with a second hit are left out. Everything else is exact up to the cells of excursions.
 */
export function theoryOf(suspect: Suspect): Theory {
  const { hit, honestRequests = 0, honestHit = hit, requestsMax = 200_000, ...rule } = suspect
  assert(hit > 0 && hit < 1 && honestHit > 0, 'a chance of a hit that is neither none nor certain')
  const before = follow({ ...rule, hit: honestHit, requestsMax: honestRequests, start: newcomer(), upTo: 0 })
  return follow({ ...rule, hit, requestsMax, start: before.last, upTo: overBelow })
}

/** Chance of a false alarm for each request of an honest worker, and its share of checked requests, over a life. */
export function honestTheory(requests: number) {
  const life = theoryOf({ hit: chartDefaults.honestHitRate, requestsMax: requests })
  return { falseAlarmPerRequest: life.caught / requests, checkRate: life.checks / life.requests }
}

interface Start {
  /** Chance of each number of clean checks, all charts at zero. */
  readonly atZero: Float64Array
  /** Chance that an excursion began so many checks ago, and the clean checks before it. */
  readonly above: readonly { readonly chance: number; readonly clean: number }[]
}

const newcomer = (): Start => ({ atZero: Float64Array.of(1), above: [] })

interface Following extends Pick<Suspect, 'hit' | 'profile' | 'params'> {
  readonly requestsMax: number
  readonly start: Start
  /** Ends when less than this is left. */
  readonly upTo: number
}

function follow({ hit, profile = checkProfiles.sampled, params, requestsMax, start, upTo }: Following) {
  const chain = new Chain(hit, profile, params ?? chartDefaults, start, requestsMax)
  while (chain.request < requestsMax && chain.left > upTo) chain.step()
  return chain.result()
}

class Chain {
  request = 0
  /** Chance that there has been no alarm. */
  left = 1
  readonly #rates: readonly number[]
  readonly #excursion
  readonly #ends: readonly { readonly checks: number; readonly clean: number; readonly chance: number }[]
  readonly #alarmAt: number[] = []
  /** Slot n mod length: what comes back to zero with request n. */
  readonly #back: Float64Array[]
  readonly #alarms: Float64Array
  readonly #starts: { chance: number; clean: number }[] = []
  readonly #hit: number
  readonly #begins: Float64Array
  #zero: Float64Array
  #spare: Float64Array
  #checks = 0
  #requests = 0

  constructor(hit: number, profile: CheckProfile, params: ChartParams, start: Start, requestsMax: number) {
    this.#hit = hit
    this.#rates = ratesOf(profile)
    const fresh = newCharts(params)
    const begun = updateCharts(fresh, 'hit').charts
    this.#excursion = excursionOf(begun, hit)
    const { alarm, back } = this.#excursion
    const slowest = fresh.steps.reduce((a, b) => (b.hit / -b.clean > a.hit / -a.clean ? b : a))
    const checksOfHit = 1 + slowest.hit / -slowest.clean
    this.#ends = back.flatMap((chance, more) => {
      const hits = Math.round((more + 1) / checksOfHit)
      return chance > 1e-12 && more < requestsMax ? [{ checks: more + 1, clean: more + 1 - hits, chance }] : []
    })
    const length = Math.min(Math.max(alarm.length, 2), requestsMax + 2) + 1
    this.#back = Array.from({ length }, () => new Float64Array(this.#rates.length))
    this.#alarms = new Float64Array(length)
    this.#zero = new Float64Array(this.#rates.length)
    this.#spare = new Float64Array(this.#rates.length)
    this.#begins = new Float64Array(this.#rates.length)
    const resumed = this.#resume(start, begun.heights, params)
    const resting = start.atZero.reduce((sum, chance) => sum + chance, 0)
    start.atZero.forEach((chance, clean) => {
      this.#zero[clean] = (chance * (1 - resumed)) / resting
    })
  }

  /** Excursions that had begun before: all checks since were clean, and now hits come as often as here. Gives their chance. */
  #resume(start: Start, first: readonly number[], params: ChartParams): number {
    let resumed = 0
    start.above.forEach(({ chance, clean }, ago) => {
      let charts = newCharts(params, first)
      for (let check = 0; check < ago; check++) charts = updateCharts(charts, 'clean').charts
      if (chance === 0 || charts.heights.every((height) => height === 0)) return
      resumed += chance
      const { alarm, back } = excursionOf(charts, this.#hit)
      alarm.forEach((weight, check) => {
        if (check < this.#alarms.length) this.#alarms[check] = (this.#alarms[check] ?? 0) + chance * weight
      })
      back.forEach((weight, check) => {
        if (check < this.#back.length) this.#put(check, clean + ago + check, chance * weight)
      })
    })
    return resumed
  }

  #put(request: number, clean: number, chance: number): void {
    const slot = this.#back[request % this.#back.length]
    const record = Math.min(clean, this.#rates.length - 1)
    if (slot) slot[record] = (slot[record] ?? 0) + chance
  }

  /** Excursions that begin with this request, by the clean checks before, and end so many checks and clean ones later. */
  #end(checks: number, clean: number, chance: number, begins: Float64Array): void {
    const slot = this.#back[(this.request + checks - 1) % this.#back.length]
    if (!slot) return
    const last = slot.length - 1
    for (let before = 0; before <= last; before++) {
      const struck = begins[before] ?? 0
      if (struck === 0) continue
      const record = Math.min(before + clean, last)
      slot[record] = (slot[record] ?? 0) + struck * chance
    }
  }

  step(): void {
    this.request += 1
    const next = this.#spare.fill(0)
    const begins = this.#begins.fill(0)
    const last = next.length - 1
    let [resting, begun, checked, weighted] = [0, 0, 0, 0]
    for (let clean = 0; clean <= last; clean++) {
      const chance = this.#zero[clean] ?? 0
      if (chance < 1e-18) continue
      const rate = this.#rates[clean] ?? 1
      const struck = chance * rate * this.#hit
      resting += chance
      checked += chance * rate
      next[clean] = (next[clean] ?? 0) + chance * (1 - rate)
      const better = Math.min(clean + 1, last)
      next[better] = (next[better] ?? 0) + chance * rate - struck
      begun += struck
      weighted += struck * clean
      begins[clean] = struck
    }
    for (const { checks, clean, chance } of this.#ends) this.#end(checks, clean, chance, begins)
    this.#requests += this.left
    this.#checks += checked + Math.max(0, this.left - resting)
    this.#starts.push({ chance: begun, clean: begun > 0 ? Math.round(weighted / begun) : 0 })
    this.#alarm(begun)
    this.#return(next)
  }

  #alarm(begun: number): void {
    const { length } = this.#alarms
    const { alarm } = this.#excursion
    const upTo = Math.min(alarm.length, length - 1)
    for (let more = 0, at = this.request % length; more < upTo; more++, at = at + 1 === length ? 0 : at + 1) {
      this.#alarms[at] = (this.#alarms[at] ?? 0) + begun * (alarm[more] ?? 0)
    }
    const now = this.request % length
    const alarmed = this.#alarms[now] ?? 0
    this.#alarms[now] = 0
    this.#alarmAt[this.request] = alarmed
    this.left -= alarmed
  }

  #return(next: Float64Array): void {
    const slot = this.#back[this.request % this.#back.length]
    if (slot) for (let clean = 0; clean < slot.length; clean++) next[clean] = (next[clean] ?? 0) + (slot[clean] ?? 0)
    slot?.fill(0)
    this.#spare = this.#zero
    this.#zero = next
  }

  result(): Theory & { readonly last: Start } {
    const alarmAt = Float64Array.from(this.#alarmAt, (chance) => chance ?? 0)
    const caught = alarmAt.reduce((sum, chance) => sum + chance, 0)
    let [sum, p95, mean] = [0, Number.POSITIVE_INFINITY, 0]
    alarmAt.forEach((chance, request) => {
      sum += chance
      mean += chance * request
      if (sum >= 0.95 && p95 === Number.POSITIVE_INFINITY) p95 = request
    })
    const above = this.#starts.slice(-this.#excursion.alarm.length).reverse()
    const counts = { checks: this.#checks, requests: this.#requests }
    return { alarmAt, caught, mean: mean / caught, p95, ...counts, last: { atZero: this.#zero, above } }
  }
}

/** Check rates by the number of clean checks, up to where they stay the same. */
function ratesOf(profile: CheckProfile): number[] {
  const rates = []
  for (let clean = 0; ; clean++) {
    const ppm = checkRatePpm({ clean, profile })
    rates.push(ppm / 1e6)
    if (ppm === profile.ppmMin) return rates
  }
}
