import os from 'node:os'
import path from 'node:path'

/** What the terminal and the launcher tell us, beside settings. */
interface Surroundings {
  /** https://no-color.org: set and not empty. */
  readonly noColor: boolean
  /** Started by npm, which then is our parent: when it is gone, so are we. */
  readonly launchedByNpm: boolean
}

export function surroundings(environment: Readonly<Record<string, string | undefined>> = process.env): Surroundings {
  return {
    noColor: Boolean(environment.NO_COLOR) || environment.TERM === 'dumb',
    launchedByNpm: environment.npm_lifecycle_event !== undefined,
  }
}

/** The environment for a child program: ours, without what was said to this program alone. */
export function childEnvironment(): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !/^(LICHEN_|DATABASE_URL$|npm_)/.test(entry[0]),
  )
  return Object.fromEntries(kept)
}

/** Where an admin's private keys lie on the admin's own machine (XDG Base Directory specification). */
export function adminKeyFolder(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const xdg = environment.XDG_CONFIG_HOME
  const config = xdg && path.isAbsolute(xdg) ? xdg : path.join(os.homedir(), '.config')
  return path.join(config, 'lichen', 'admin-keys')
}
