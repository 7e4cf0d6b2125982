import type { Jobs } from '#jobs'
import type { PoolId, Refusal } from '#protocol'
import type { Runtime } from '#runtime'
import type { AdminDeps } from './admin/admin-deps.ts'
import type { ApiLimits } from './limits.ts'
import type { ModelDirectory } from './openai/model-directory.ts'

/** Who holds an API key, and what it may. */
export interface Client {
  readonly id: string
  /** Names of models; null: all. */
  readonly models: readonly string[] | null
  /** Null: no limit. */
  readonly requestsPerMinute: number | null
  /** Its share of the pool compared with other keys; 1 is usual. */
  readonly weight: number
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
  /** Whose key this is. Answers at once for a key it has seen. */
  readonly authenticate: (key: string) => Client | Refusal | Promise<Client | Refusal>
  /** Whether this is the owner's key, in constant time. */
  readonly isOwner: (key: string) => boolean
  readonly jobs: Pick<Jobs, 'accept' | 'idempotent' | 'list' | 'show' | 'load'>
  readonly models: ModelDirectory
  /** Whether the database answers now. */
  readonly databaseAnswers: () => Promise<boolean>
  /** The metrics in Prometheus' text format. */
  readonly metrics: () => Promise<string>
  /** A request ended: the route as documented, the HTTP status (499: the client left), milliseconds. */
  readonly ended: (route: string, status: number, ms: number) => void
  readonly admin: AdminDeps
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer } | undefined
  readonly limits?: Partial<ApiLimits> | undefined
}
