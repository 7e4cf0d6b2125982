import type { Refusal } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database } from '#storage'
import { type ApiKey, type ApiKeyRecord, ApiKeys, type NewApiKey } from './api-keys.ts'
import { makeInvite, type NewInvite } from './invites.ts'
import { type AdmitVerdict, type WorkerAtDoor, WorkerKeys } from './worker-keys.ts'
import type { WorkerAct, WorkerRecord } from './worker-records.ts'

interface Page {
  /** Last id of the page before. */
  readonly after?: string
  /** Rows, 1 … 1,000; 100 when absent. */
  readonly limit?: number
}

/**
 * Who may ask and who may work. Every method may reject with PoolError `database_unavailable`.
 * Workers are named by id or by the beginning of it.
 */
export class Identity implements Disposable {
  readonly #database: Database
  readonly #runtime: Runtime
  readonly #apiKeys: ApiKeys
  readonly #workers: WorkerKeys

  constructor(database: Database, runtime: Runtime) {
    this.#database = database
    this.#runtime = runtime
    this.#apiKeys = new ApiKeys(database, runtime)
    this.#workers = new WorkerKeys(database, runtime)
  }

  /** The key itself is in the answer and nowhere else. */
  createApiKey(wish: NewApiKey): Promise<ApiKeyRecord & { readonly key: string }> {
    return this.#apiKeys.create(wish)
  }

  listApiKeys(page?: Page): Promise<ApiKeyRecord[]> {
    return this.#apiKeys.list(page)
  }

  /** @throws PoolError not_found. */
  revokeApiKey(id: string): Promise<ApiKeyRecord> {
    return this.#apiKeys.revoke(id)
  }

  /** Answers at once for a key seen before. Refusals: invalid_api_key, expired_api_key, revoked_api_key. */
  authenticate(key: string): ApiKey | Refusal | Promise<ApiKey | Refusal> {
    return this.#apiKeys.authenticate(key)
  }

  /** The token goes into an invite text (see encodeInvite). @throws PoolError invalid_request. */
  invite(wish: NewInvite): Promise<{ id: string; token: Buffer; validUntil: number; expiresInMs: number }> {
    return makeInvite(this.#database, this.#runtime, wish)
  }

  /** Whether a worker may come in; the first time it shows an invite, which is then used. */
  admitWorker(worker: WorkerAtDoor): Promise<AdmitVerdict> {
    return this.#workers.admit(worker)
  }

  /** @throws PoolError not_found, conflict. */
  approveWorker(id: string, by: string): Promise<WorkerRecord> {
    return this.#workers.act(id, { act: 'approve' }, by)
  }

  /** Also brings back a revoked key. @throws PoolError not_found, conflict, invalid_request. */
  renewWorker(id: string, { expiresInMs }: { readonly expiresInMs?: number }, by: string): Promise<WorkerRecord> {
    return this.#workers.renew(id, expiresInMs, by)
  }

  /** @throws PoolError not_found, conflict. */
  revokeWorker(id: string, by: string): Promise<WorkerRecord> {
    return this.#workers.act(id, { act: 'revoke' }, by)
  }

  listWorkers(page?: Page): Promise<WorkerRecord[]> {
    return this.#workers.list(page)
  }

  /** @throws PoolError not_found, conflict. */
  showWorker(id: string): Promise<WorkerRecord & { readonly acts: readonly WorkerAct[] }> {
    return this.#workers.show(id)
  }

  /** Told within a second of every change to a worker's key, wherever it was made; perhaps of some twice. */
  onWorkerKeyChange(told: (worker: WorkerRecord) => void): Disposable {
    return this.#workers.onChange(told)
  }

  /** Stops following changes. The database stays open. */
  [Symbol.dispose](): void {
    this.#apiKeys[Symbol.dispose]()
    this.#workers[Symbol.dispose]()
  }
}
