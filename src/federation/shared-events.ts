import type { EventQuery, PoolEvent } from '#observability'
import type { PoolId } from '#protocol'
import { sharedEventTypes } from './admin-request.ts'
import { federationLimits } from './limits.ts'

/** An event as another pool sees it. */
export interface SharedEvent {
  readonly type: string
  /** Id of the worker, or of the asker itself. */
  readonly subject: string
  /** Unix seconds. */
  readonly at: number
  readonly details: Readonly<Record<string, string | number | boolean>>
}

/** Members of each kind that may leave the house. Who is not named here (operators, other pools, mail addresses) stays inside. */
const membersOf: Readonly<Record<(typeof sharedEventTypes)[number], readonly string[]>> = {
  circuit_opened: ['why', 'pause_ms'],
  circuit_closed: [],
  worker_joined: ['standing'],
  worker_left: ['reason'],
  peer_handshake: ['version'],
  overview: ['workers', 'models', 'circuits_open'],
  peer_status: ['state'],
}
/** A code or a few plain words: no address, no name with a sign in it. */
const plainWords = /^[a-z][a-z0-9_ ]{0,59}$/
const workerId = /^[0-9a-f]{64}$/

/** Kinds that are about another pool. */
const aboutPools = ['peer_handshake', 'peer_status'] as const

/** What is asked for, within what may be asked for. How many events others have left out of it tells nothing: they are not counted. */
export function eventWindow(params: object, now: number, asker: PoolId): EventQuery {
  const { limit, types, since } = params as {
    limit?: number
    types?: (typeof sharedEventTypes)[number][]
    since?: number
  }
  return {
    types: types ?? [...sharedEventTypes],
    since: Math.max(now - federationLimits.eventsAgeMsMax, (since ?? 0) * 1_000),
    only: { types: aboutPools, subject: asker },
    newest: true,
    limit: Math.min(limit ?? federationLimits.eventsMax, federationLimits.eventsMax),
  }
}

/** The events of ours that `asker` may see: about our own workers and about the asker, nothing about anybody else in any field. */
export function shareEvents(events: readonly PoolEvent[], self: PoolId, asker: PoolId): SharedEvent[] {
  return events.flatMap(({ type, subject, at, details }): SharedEvent[] => {
    const members = Object.hasOwn(membersOf, type) ? membersOf[type as keyof typeof membersOf] : undefined
    if (!members || !isAbout(type, subject, self, asker)) return []
    const kept = members.flatMap((name): [string, string | number | boolean][] => {
      const value = Object.hasOwn(details, name) ? details[name] : undefined
      return value === undefined || (typeof value === 'string' && !plainWords.test(value)) ? [] : [[name, value]]
    })
    return [{ type, subject, at: Math.floor(at / 1_000), details: Object.fromEntries(kept) }]
  })
}

function isAbout(type: string, subject: string, self: PoolId, asker: PoolId): boolean {
  if ((aboutPools as readonly string[]).includes(type)) return subject === asker
  return type === 'overview' ? subject === self : workerId.test(subject)
}
