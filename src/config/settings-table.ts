import os from 'node:os'
import path from 'node:path'
import {
  bytes,
  credits,
  duration,
  file,
  httpHost,
  integer,
  type Kind,
  listOf,
  network,
  oneOf,
  origin,
  poolId,
  text,
  tier,
  url,
  urlOrAuto,
  yesNo,
} from './kinds.ts'

/** Which commands take the setting as a flag. */
type Program = 'all' | 'pool' | 'worker' | 'client'

/** One row of the table. The name decides the flag, the variable and the key of `lichen.toml`. */
export interface Setting<T> {
  readonly kind: Kind<T>
  /** `undefined`: not set. */
  readonly fallback: T | undefined
  /** How the default reads where it is not a plain value. */
  readonly fallbackText?: string
  readonly programs: readonly Program[]
  /** A secret is never a flag: argument lists are public on a machine. */
  readonly secret?: true
  /** Where `lichen.toml` is found cannot stand in it. */
  readonly notInFile?: true
  readonly doc: string
}

type Row<T> = Omit<Setting<T>, 'kind' | 'fallback'>

const withDefault = <T>(kind: Kind<T>, fallback: T, row: Row<T>): Setting<T> & { readonly fallback: T } => ({
  kind,
  fallback,
  ...row,
})

const optional = <T>(kind: Kind<T>, row: Row<T>): Setting<T> & { readonly fallback: undefined } => ({
  kind,
  fallback: undefined,
  ...row,
})

/** Every setting there is. docs/reference/settings.md is written from this table, kept by a test. */
export const settingsTable = {
  data: withDefault(file('folder'), '', {
    fallbackText: '`$XDG_DATA_HOME/lichen`, else `~/.local/share/lichen`',
    programs: ['all'],
    notInFile: true,
    doc: 'The data folder: keys, embedded database, membership. Made 0700.',
  }),
  config: optional(file('file'), {
    fallbackText: '`lichen.toml` in the data folder, where there is one',
    programs: ['all'],
    notInFile: true,
    doc: 'The settings file.',
  }),
  host: withDefault(text('address'), '127.0.0.1', {
    programs: ['pool'],
    doc: 'Address to listen on. Beyond loopback TLS is required.',
  }),
  port: withDefault(integer(0, 65_535, 'port'), 5424, {
    programs: ['pool'],
    doc: 'Port of the API and of worker sessions; 0 takes a free one.',
  }),
  tlsCert: optional(file('file'), { programs: ['pool'], doc: 'Certificate chain (PEM) to serve HTTPS with.' }),
  tlsKey: optional(file('file'), { programs: ['pool'], doc: 'Private key (PEM) of that certificate.' }),
  behindTlsProxy: withDefault(yesNo, false, {
    programs: ['pool'],
    doc: 'A proxy in front ends TLS and is the only one who can reach this port. Needs `trusted_proxies`.',
  }),
  trustedProxies: withDefault(listOf(network), [], {
    programs: ['pool'],
    doc: 'Addresses or networks whose `X-Forwarded-For` is believed.',
  }),
  insecureBind: withDefault(yesNo, false, {
    programs: ['pool'],
    doc: 'Listen beyond loopback without TLS all the same: keys and prompts cross the network in clear.',
  }),
  publicUrl: optional(url(['http:', 'https:']), {
    programs: ['pool'],
    doc: 'The URL workers and clients reach this pool at; written into invites.',
  }),
  browserOrigins: withDefault(listOf(origin), [], {
    programs: ['pool'],
    doc: 'Origins whose pages may use the API from a browser. Without any no page of another origin can.',
  }),
  databaseUrl: optional(url(['postgres:', 'postgresql:']), {
    fallbackText: 'embedded PostgreSQL in the data folder',
    programs: ['pool'],
    secret: true,
    doc: 'A PostgreSQL 15 or newer to use instead. `DATABASE_URL` is read too.',
  }),
  model: withDefault(listOf(file()), [], {
    fallbackText: 'the demo model, unless `upstream` is given',
    programs: ['worker'],
    doc: 'GGUF file, or a folder of them, to lend. May be given several times.',
  }),
  upstream: withDefault(listOf(urlOrAuto), [], {
    programs: ['worker'],
    doc: 'Base URL of an OpenAI-compatible server to lend; `auto` lends a local Ollama or llama-server that is found.',
  }),
  upstreamApiKey: optional(text(), {
    programs: ['worker'],
    secret: true,
    doc: 'The key the upstream asks for.',
  }),
  upstreamInside: withDefault(yesNo, false, {
    programs: ['worker'],
    doc: 'The upstream runs on machines of the pool’s own people: requests with the privacy `paranoid` may go there.',
  }),
  slots: optional(integer(1, 4_096), {
    fallbackText: '4 for model files, 16 for an upstream',
    programs: ['worker'],
    doc: 'Requests computed at once.',
  }),
  threads: optional(integer(1, 1_024), {
    fallbackText: 'processor cores − 1',
    programs: ['worker'],
    doc: 'Threads of llama.cpp. It waits actively: leave one core for the rest.',
  }),
  name: optional(text('name'), {
    fallbackText: 'the host name',
    programs: ['worker'],
    doc: 'What the pool’s operator sees this worker as.',
  }),
  payerSignature: withDefault(oneOf(['optional', 'required']), 'optional', {
    programs: ['pool', 'worker'],
    doc: '`required`: only requests whose order is signed by the payer’s own key are taken, none that the pool signs as custodian.',
  }),
  requiredWorkers: withDefault(integer(2, 5), 2, {
    programs: ['pool'],
    doc: 'Workers of distinct operators that compute an answer with the assurance `required`, and must agree; each is paid.',
  }),
  federation: withDefault(oneOf(['active', 'observe', 'off']), 'active', {
    programs: ['pool'],
    doc: '`observe`: requests of other pools are verified and logged, and nothing comes of them. `off`: they are refused.',
  }),
  federationName: withDefault(text('name'), 'a Lichen pool', {
    programs: ['pool'],
    doc: 'What other pools see this one as.',
  }),
  federationPublish: withDefault(yesNo, true, {
    programs: ['pool'],
    doc: 'Tell everybody who asks which pools this one trusts, and with which models (`/v1/federation/pools`).',
  }),
  federationKillFiles: withDefault(listOf(file()), [], {
    programs: ['pool'],
    doc: 'Files that switch federation off while they are there, besides `/etc/iamine/fed_disable` and `fed_disable` in the data folder.',
  }),
  federationAdminQuorum: withDefault(integer(1, 8), 1, {
    programs: ['pool'],
    doc: 'Admins that must sign before a WRITE of another pool is approved.',
  }),
  federationV1Writes: withDefault(listOf(poolId), [], {
    programs: ['pool'],
    doc: 'Pools that may ask for a WRITE in version 1, which carries no admin’s signature: their ids.',
  }),
  federationAccept: withDefault(yesNo, true, {
    programs: ['pool'],
    doc: 'Compute jobs of other pools that are trusted with them (accept_forwarding).',
  }),
  federationForward: withDefault(yesNo, true, {
    programs: ['pool'],
    doc: 'Let other pools that are trusted with jobs compute what is missing here, where its privacy is `standard`.',
  }),
  federationQueue: withDefault(integer(0, 1_000_000), 32, {
    programs: ['pool'],
    doc: 'Requests that may wait here before other pools are asked although a worker here has the model.',
  }),
  federationCredit: withDefault(credits, 1_000_000_000n, {
    programs: ['pool'],
    doc: 'What each other pool may owe this one, in credits.',
  }),
  federationHttpHosts: withDefault(listOf(httpHost), [], {
    programs: ['pool'],
    doc: 'Hosts of other pools that may be called without TLS, with the port: `pool.lan:5424`.',
  }),
  federationPrivateRanges: withDefault(listOf(network), [], {
    programs: ['pool'],
    doc: 'Networks that are not public in which other pools may be called. All others are refused, whatever a name resolves to.',
  }),
  checkProfile: withDefault(oneOf(['sampled', 'strict', 'required']), 'sampled', {
    programs: ['pool'],
    doc: 'How many answers of a worker with a long clean record are looked at again: `sampled` 3 %, `strict` 10 %, `required` all.',
  }),
  holdEarnings: withDefault(duration(0, 90 * 86_400_000), 86_400_000, {
    programs: ['pool'],
    doc: 'How long a worker’s earnings are held at least, so that they can be taken from one that is convicted.',
  }),
  holdPayments: withDefault(integer(0, 1_000_000), 200, {
    programs: ['pool'],
    doc: 'The worker’s latest payments that are held however old they are. A pool for which cheating would pay does not start.',
  }),
  tier: withDefault(listOf(tier), [], {
    programs: ['pool'],
    doc: 'Models that may stand in for each other, small tiers first. May be given several times.',
  }),
  degradation: withDefault(oneOf(['never', 'down', 'up', 'any']), 'never', {
    programs: ['pool'],
    doc: 'Who answers in place of a model that nobody offers now: its own tier, then smaller ones, larger ones, or both.',
  }),
  tierWorkers: withDefault(integer(1, 1_000), 1, {
    programs: ['pool'],
    doc: 'Workers each tier needs, however quiet it is.',
  }),
  hotSpare: withDefault(integer(0, 1_000), 1, {
    programs: ['pool'],
    doc: 'Workers each tier has ready beyond those it needs; those that are full count as needed.',
  }),
  modelLibrary: withDefault(listOf(file()), [], {
    programs: ['pool'],
    doc: 'GGUF files, or folders with some, that idle workers are offered where a tier lacks workers. May be given several times.',
  }),
  offerPatience: withDefault(duration(1_000, 86_400_000), 30_000, {
    programs: ['pool'],
    doc: 'A tier lacks a worker, and a worker is idle, for so long before a model is offered; a lack is gone for so long before the offer is withdrawn.',
  }),
  modelRate: withDefault(bytes(2 ** 16, 2 ** 40), 32 * 2 ** 20, {
    programs: ['pool'],
    doc: 'Bytes of model files a second that the pool sends to workers, all together.',
  }),
  acceptModels: withDefault(yesNo, false, {
    programs: ['worker'],
    doc: 'Let the pool choose models for this worker: it fetches them from the pool when it is idle, and lends them.',
  }),
  modelSpace: withDefault(bytes(2 ** 20, 2 ** 44), 20 * 2 ** 30, {
    programs: ['worker'],
    doc: 'Disk that fetched models may take, all together.',
  }),
  queueMax: withDefault(integer(0, 1_000_000), 1_024, {
    programs: ['pool'],
    doc: 'Requests that may wait for a worker; one more is refused with 429.',
  }),
  requestTimeout: withDefault(duration(1_000, 86_400_000), 600_000, {
    programs: ['pool'],
    doc: 'A request that has not ended by then fails with `deadline_exceeded`.',
  }),
  shutdownTimeout: withDefault(duration(0, 600_000), 10_000, {
    programs: ['pool', 'worker'],
    doc: 'How long running requests may go on after SIGTERM. A second signal ends them at once.',
  }),
  socketsPerSource: withDefault(integer(1, 1_000_000), 128, {
    programs: ['pool'],
    doc: 'Worker sockets from one /24 or /56 that have not yet proved who they are.',
  }),
  socketsUnknown: withDefault(integer(1, 1_000_000), 1_024, {
    programs: ['pool'],
    doc: 'The same in total.',
  }),
  logLevel: withDefault(oneOf(['trace', 'debug', 'info', 'warn', 'error', 'silent']), 'info', {
    programs: ['pool', 'worker'],
    doc: 'The least that is logged.',
  }),
  logFormat: withDefault(oneOf(['auto', 'json', 'pretty']), 'auto', {
    programs: ['pool', 'worker'],
    doc: '`auto`: readable on a terminal, JSON lines otherwise. Always on stderr.',
  }),
  url: optional(url(['http:', 'https:']), {
    fallbackText: '`pool.json` in the data folder, written by a running pool',
    programs: ['client'],
    doc: 'The pool a command talks to.',
  }),
  adminKey: optional(text(), {
    fallbackText: '`owner.key` in the data folder',
    programs: ['client'],
    secret: true,
    doc: 'The key for administration: the owner’s, or an API key with a role.',
  }),
  apiKey: optional(text(), {
    fallbackText: '`first-api-key` in the data folder',
    programs: ['client'],
    secret: true,
    doc: 'The key `lichen chat` and `lichen models` send.',
  }),
} as const

type Table = typeof settingsTable
export type SettingName = keyof Table
export const settingNames = Object.keys(settingsTable) as SettingName[]

type ValueOf<S> = S extends { kind: Kind<infer T>; fallback: infer F }
  ? F extends undefined
    ? T | undefined
    : T
  : never

/** What the operator said, every setting resolved. */
export type Settings = { readonly [K in SettingName]: ValueOf<Table[K]> }

/** `tlsCert` → `tls_cert`, the key in `lichen.toml`. */
export const fileKeyOf = (name: SettingName): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
/** `tlsCert` → `LICHEN_TLS_CERT`. */
export const variableOf = (name: SettingName): string => `LICHEN_${fileKeyOf(name).toUpperCase()}`
/** `tlsCert` → `--tls-cert`. */
export const flagOf = (name: SettingName): string => `--${fileKeyOf(name).replaceAll('_', '-')}`

/** Where data lies when nobody says: one place for a user, whatever folder a command is typed in. */
export function defaultDataFolder(environment: Readonly<Record<string, string | undefined>>): string {
  const xdg = environment.XDG_DATA_HOME
  const base = xdg && path.isAbsolute(xdg) ? xdg : path.join(os.homedir(), '.local', 'share')
  return path.join(base, 'lichen')
}

/** How the default reads in `--help` and in the reference; undefined where there is none worth saying. */
export function defaultTextOf(name: SettingName): string | undefined {
  const { kind, fallback, fallbackText }: Setting<unknown> = settingsTable[name]
  if (fallbackText !== undefined) return fallbackText
  if (fallback === undefined || fallback === false || Array.isArray(fallback)) return undefined
  return kind.show ? kind.show(fallback) : String(fallback)
}
