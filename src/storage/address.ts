import { readFileSync } from 'node:fs'
import { ConfigError } from '#config'

/** Where the database is: the embedded server's socket folder, or `postgres://user:password@host:port/database?sslmode=…`. */
export type DatabaseTarget =
  | { readonly url: string }
  | { readonly socketDir: string; readonly port: number; readonly user: string; readonly database: string }

const tlsModes = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'] as const
type TlsMode = (typeof tlsModes)[number]

/** A target, parsed once. */
export interface Address {
  /** Folder of a Unix socket when it begins with `/`. */
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
  /** libpq's modes (PostgreSQL documentation §32.19): `require` encrypts, only `verify-*` authenticate. */
  readonly tls: TlsMode
  /** PEM of the authorities trusted by `verify-*`; the system's when absent. */
  readonly ca?: string
}

const refuse = (what: string) =>
  new ConfigError(
    'config_invalid',
    `The database URL ${what}.`,
    'Write it as postgres://user:password@host:5432/database, with ?sslmode=verify-full for a server elsewhere.',
  )

function readAuthority(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    throw refuse(`names a certificate that cannot be read (sslrootcert=${path})`)
  }
}

function parseUrl(text: string): URL {
  try {
    return new URL(text)
  } catch {
    throw refuse('is not a URL')
  }
}

/** Most often a password with a `%` of its own. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    throw refuse('has a % that is not followed by two hexadecimal digits; write the sign itself as %25')
  }
}

function portOf(text: string): number {
  const port = Number(text || 5432)
  if (!/^\d*$/.test(text) || port < 1 || port > 65_535) throw refuse('has a port that is no number from 1 to 65535')
  return port
}

/** @throws ConfigError; the sentence never repeats the URL, it may hold a password. */
export function parseAddress(target: DatabaseTarget): Address {
  if (!('url' in target)) return { ...target, host: target.socketDir, password: '', tls: 'disable' }
  const url = parseUrl(target.url)
  if (url.protocol !== 'postgres:' && url.protocol !== 'postgresql:') throw refuse('does not begin with postgres://')
  const known = new Set(['sslmode', 'sslrootcert', 'host', 'port'])
  const unknown = [...url.searchParams.keys()].find((name) => !known.has(name))
  if (unknown) throw refuse(`has a parameter nobody here knows: ${unknown}`)
  const host = url.searchParams.get('host') ?? decoded(url.hostname).replace(/^\[|\]$/g, '')
  const database = decoded(url.pathname.slice(1))
  if (!url.username || !database) throw refuse('names no user or no database')
  const tls = (url.searchParams.get('sslmode') ?? 'prefer') as TlsMode
  if (!tlsModes.includes(tls)) throw refuse(`has an sslmode that is none of ${tlsModes.join(', ')}`)
  const authority = url.searchParams.get('sslrootcert')
  return {
    host: host || 'localhost',
    port: portOf(url.searchParams.get('port') ?? url.port),
    user: decoded(url.username),
    password: decoded(url.password),
    database,
    tls: host.startsWith('/') ? 'disable' : tls,
    ...(authority ? { ca: readAuthority(authority) } : {}),
  }
}
