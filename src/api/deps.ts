import type { ModelLibrary } from '#artifacts'
import type { Toggles, Tokens } from '#federation'
import type { Role } from '#identity'
import type { FoundReceipt, Jobs, Payer } from '#jobs'
import type { LogReader } from '#log'
import type { AssuranceLevel, PoolId, PriceListJson, PrivacyMode, Refusal } from '#protocol'
import type { Runtime } from '#runtime'
import type { ToldEpochs } from '#verification'
import type { AdminDeps } from './admin/admin-deps.ts'
import type { FederationAdmin } from './admin/federation.ts'
import type { FactsAdmin } from './admin/federation-facts.ts'
import type { RequestsAdmin } from './admin/federation-requests.ts'
import type { FederationDoor } from './federation/federation-routes.ts'
import type { ApiLimits } from './limits.ts'
import type { MoneyDeps } from './money/money-deps.ts'
import type { ModelDirectory } from './openai/model-directory.ts'
import type { Tiers } from './openai/tiers.ts'

/** Who holds an API key, and what it may. */
export interface Client extends Payer {
  readonly userId: string
  /** What it counts as on routes that need a role. */
  readonly role: Role
  /** Names of models; null: all. */
  readonly models: readonly string[] | null
  /** What its requests ask for when they say nothing; null: the pool's policy. */
  readonly assurance: AssuranceLevel | null
  readonly privacy: PrivacyMode
  /** Whether other pools may compute its requests; they may when absent. */
  readonly forwarding?: boolean
}

/** Everything the API needs from the rooms below, handed in by the program. */
export interface ApiDeps {
  readonly runtime: Runtime
  readonly log: {
    error(details: object, message: string): void
    debug(details: object, message: string): void
  }
  /** `0.1.0`. */
  readonly version: string
  readonly poolId: PoolId
  /** Where clients reach this pool, if the operator said so. */
  readonly publicUrl?: string | undefined
  /** Served on loopback and through no proxy: who calls it by another name than loopback's or `publicUrl`'s is refused. */
  readonly loopbackOnly?: boolean | undefined
  /** Pages of these origins (`https://app.example.org`) may ask from a browser; none unless given. */
  readonly browserOrigins?: readonly string[] | undefined
  /** Whose key this is. Answers at once for a key it has seen. */
  readonly authenticate: (key: string) => Client | Refusal | Promise<Client | Refusal>
  /** Whether this is the owner's key, in constant time. */
  readonly isOwner: (key: string) => boolean
  readonly jobs: Pick<Jobs, 'accept' | 'idempotent' | 'list' | 'show' | 'load'>
  readonly models: ModelDirectory
  /** What other pools that are trusted with jobs would compute now. */
  readonly modelsElsewhere?: (() => Pick<ModelDirectory, 'list'> | undefined) | undefined
  /** Models that stand in for each other, and whether they do. */
  readonly tiers?: Tiers | undefined
  /** Model files for workers that were offered them; none are handed out when absent. */
  readonly modelFiles?: Pick<ModelLibrary, 'open'> | undefined
  /** A job's receipt; undefined when there is no such job. */
  readonly receipt: (jobId: string) => Promise<FoundReceipt | undefined>
  /** What tokens cost, for everybody who signs orders. */
  readonly prices: () => Promise<Omit<PriceListJson, 'account'>>
  readonly logReader: LogReader
  /** What the pool has told of hours that are over. */
  readonly toldEpochs: Pick<ToldEpochs, 'open'>
  readonly federation: FederationDoor
  readonly federationAdmin: FederationAdmin
  /** `active`, `observe`, `off`. */
  readonly federationMode: string
  /** Facts of pools, and what humans should look at because of them. */
  readonly factsAdmin: FactsAdmin
  readonly requestsAdmin: RequestsAdmin
  readonly tokens: Pick<Tokens, 'issue' | 'allow' | 'list' | 'revoke'>
  /** 32 bytes that seal sessions of the page; the same in every process of the pool. */
  readonly pageSecret: Buffer
  readonly toggles: Pick<Toggles, 'because' | 'list' | 'set'>
  /** Whether the database answers now, and writes. */
  readonly databaseAnswers: () => Promise<boolean>
  /** Whether the pool was told to stop: it takes no new work. */
  readonly isStopping: () => boolean
  /** The metrics in Prometheus' text format. */
  readonly metrics: () => Promise<string>
  /** A request ended: the route as documented, the HTTP status (499: the client left), milliseconds. */
  readonly ended: (route: string, status: number, ms: number) => void
  readonly admin: AdminDeps
  readonly money: MoneyDeps
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer } | undefined
  readonly limits?: Partial<ApiLimits> | undefined
}
