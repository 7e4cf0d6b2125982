/**
 * The floors of the house, lowest first. A room imports rooms of lower floors only, through their doors (`#room`).
 * An upward need is a function handed in by a program in `bin`.
 */
export const floors: readonly (readonly string[])[] = [
  ['crypto', 'config', 'runtime'],
  ['protocol'],
  ['storage', 'transport'],
  ['log', 'observability'],
  ['identity', 'artifacts', 'ledger', 'reputation'],
  ['channels', 'federation', 'workers', 'engines', 'sandbox'],
  ['scheduler', 'verification', 'agent'],
  ['jobs', 'memory'],
  ['api'],
  ['bin'],
]

/** Rooms beside the house: what each may import. `undefined` = anything (never shipped). */
export const annexes: Readonly<Record<string, readonly string[] | undefined>> = {
  client: ['protocol', 'crypto', 'runtime'],
  testkit: undefined,
}
