import { type Charts, newCharts, updateCharts } from '#reputation'

/** Whom a rule checks next, and whether it has seen enough. */
interface Watch {
  /** Share of requests that is checked now, 0 … 1. */
  readonly rate: number
  /** After a check; true: convicted. */
  checked(hit: boolean): boolean
}

/** Every request at 3 %, whatever was found; the charts of this pool. */
function flat(): Watch {
  let charts: Charts = newCharts()
  return {
    rate: 0.03,
    checked(hit) {
      const next = updateCharts(charts, hit ? 'hit' : 'clean')
      charts = next.charts
      return next.alarm
    },
  }
}

/**
 * Adaptive replication as BOINC has it: after n valid results in a row, from ten on, a result is checked with a chance of 1/n (D. P.
 * Anderson, "BOINC: A Platform for Volunteer Computing", 2020, section 4.2). It resets n where a result is invalid; as a rule that convicts, it
 * convicts there.
 */
function boinc(): Watch {
  let valid = 0
  return {
    get rate() {
      return valid < 10 ? 1 : 1 / valid
    },
    checked(hit) {
      valid = hit ? 0 : valid + 1
      return hit
    },
  }
}

export const otherRules = { 'flat 3 %': flat, 'BOINC 1/n': boinc } as const

/** Of honest work, and of a cheater's false answers: the lab's assumptions. */
const [honestHits, visible] = [0.001, 0.95]
const requestsMax = 200_000

/** Requests until the conviction; from the turn, when it was honest before. `undefined`: convicted while it was honest. */
export function delayUnder(
  rule: () => Watch,
  { cheats, honestRequests }: { readonly cheats: number; readonly honestRequests: number },
  random: () => number,
): number | undefined {
  const watch = rule()
  for (let n = 1; n <= honestRequests + requestsMax; n++) {
    const share = n > honestRequests ? cheats * visible : 0
    if (random() >= watch.rate) continue
    if (watch.checked(random() < share + (1 - share) * honestHits))
      return n > honestRequests ? n - honestRequests : undefined
  }
  return requestsMax
}

/** An honest worker's life of so many requests. */
export function honestUnder(
  rule: () => Watch,
  requests: number,
  random: () => number,
): { convicted: boolean; checks: number } {
  const watch = rule()
  let checks = 0
  for (let n = 0; n < requests; n++) {
    if (random() >= watch.rate) continue
    checks++
    if (watch.checked(random() < honestHits)) return { convicted: true, checks }
  }
  return { convicted: false, checks }
}
