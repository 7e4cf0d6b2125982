import type { Refusal } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database, Tx } from '#storage'
import { type AdminKeyRecord, AdminKeys } from './admin-keys.ts'
import type { ApiKey, ApiKeyChange, ApiKeyRecord, NewApiKey } from './api-key-records.ts'
import { type ApiKeyPage, ApiKeys } from './api-keys.ts'
import { blockOperator, unblockOperator, unblockOperatorOf } from './block-operator.ts'
import { type BlockChange, type BlockRecord, Blocks } from './blocks.ts'
import {
  type InviteRecord,
  listInvites,
  listOperators,
  makeInvite,
  type NewInvite,
  type OperatorRecord,
} from './invites.ts'
import { type Act, recordAct } from './record-act.ts'
import type { Actor, Role } from './roles.ts'
import { type NewRotation, type RotationStep, rotateWorkers } from './rotate-workers.ts'
import type { NewUser, UserRecord } from './user-records.ts'
import { Users } from './users.ts'
import { type AdmitVerdict, findWorker, type WorkerAtDoor, WorkerKeys } from './worker-keys.ts'
import type { WorkerAct, WorkerRecord } from './worker-records.ts'

interface Page {
  /** Last id of the page before. */
  readonly after?: string
  /** Rows, 1 … 1,000; 100 when absent. */
  readonly limit?: number
}

/** Whom a block means. */
export type Blocked = { readonly worker: string } | { readonly operator: string } | { readonly address: string }

/**
 * Who may ask, who may work, who may decide. Every method may reject with PoolError `database_unavailable`; those that
 * take an {@link Actor} with `role_required`, when it stands below what it would change. Each change adds its act to the
 * log in its own transaction. Workers and admin keys are named by id or by the beginning of it, users by id or name.
 */
export class Identity implements Disposable {
  readonly #database: Database
  readonly #runtime: Runtime
  readonly #apiKeys: ApiKeys
  readonly #users: Users
  readonly #adminKeys: AdminKeys
  readonly #blocks: Blocks
  readonly #workers: WorkerKeys

  constructor(database: Database, runtime: Runtime) {
    this.#database = database
    this.#runtime = runtime
    this.#apiKeys = new ApiKeys(database, runtime)
    this.#users = new Users(database, runtime)
    this.#adminKeys = new AdminKeys(database, runtime)
    this.#blocks = new Blocks(database, runtime)
    this.#workers = new WorkerKeys(database, runtime, this.#blocks)
  }

  /** The key itself is in the answer and nowhere else. @throws PoolError not_found, conflict, invalid_request. */
  createApiKey(wish: NewApiKey, by: Actor): Promise<ApiKeyRecord & { readonly key: string }> {
    return this.#apiKeys.create(wish, by)
  }

  /** @throws PoolError not_found for a user that is none. */
  listApiKeys(page?: ApiKeyPage): Promise<ApiKeyRecord[]> {
    return this.#apiKeys.list(page)
  }

  /** Acts at once here, within a second on other replicas. @throws PoolError not_found, conflict. */
  changeApiKey(id: string, change: ApiKeyChange, by: Actor): Promise<ApiKeyRecord> {
    return this.#apiKeys.change(id, change, by)
  }

  /** @throws PoolError not_found. */
  revokeApiKey(id: string, by: Actor): Promise<ApiKeyRecord> {
    return this.#apiKeys.revoke(id, by)
  }

  /** Answers at once for a key seen before. Refusals: invalid_api_key, expired_api_key, revoked_api_key, user_disabled. */
  authenticate(key: string): ApiKey | Refusal | Promise<ApiKey | Refusal> {
    return this.#apiKeys.authenticate(key)
  }

  /** The API key that a token stands for, if it is good now; refusals as {@link authenticate}. */
  apiKeyById(id: string): Promise<ApiKey | Refusal> {
    return this.#apiKeys.byId(id)
  }

  /** @throws PoolError conflict for a name or payer key that is taken, invalid_request. */
  createUser(wish: NewUser, by: Actor): Promise<UserRecord> {
    return this.#users.create(wish, by)
  }

  listUsers(page?: Page): Promise<UserRecord[]> {
    return this.#users.list(page)
  }

  /** @throws PoolError not_found. */
  showUser(idOrName: string): Promise<UserRecord> {
    return this.#users.show(idOrName)
  }

  /** @throws PoolError not_found, conflict for the last owner. */
  setUserRole(idOrName: string, role: Role, by: Actor): Promise<UserRecord> {
    return this.#told(this.#users.setRole(idOrName, role, by))
  }

  /** Its keys are refused at once here, within a second on every replica. @throws PoolError not_found, conflict for the last owner. */
  disableUser(idOrName: string, by: Actor): Promise<UserRecord> {
    return this.#told(this.#users.disable(idOrName, by))
  }

  /** @throws PoolError not_found. */
  enableUser(idOrName: string, by: Actor): Promise<UserRecord> {
    return this.#told(this.#users.enable(idOrName, by))
  }

  /** Null takes it away. @throws PoolError not_found, conflict when another user has it, invalid_request. */
  setPayerKey(idOrName: string, payerKey: Buffer | null, by: Actor): Promise<UserRecord> {
    return this.#told(this.#users.setPayerKey(idOrName, payerKey, by))
  }

  /** @throws PoolError conflict for a key that is or was on the list, invalid_request. */
  addAdminKey(wish: { readonly name: string; readonly publicKey: Buffer }, by: Actor): Promise<AdminKeyRecord> {
    return this.#adminKeys.add(wish, by)
  }

  listAdminKeys(page?: Page): Promise<AdminKeyRecord[]> {
    return this.#adminKeys.list(page)
  }

  /** For good. @throws PoolError not_found, conflict when several begin so. */
  revokeAdminKey(id: string, by: Actor): Promise<AdminKeyRecord> {
    return this.#adminKeys.revoke(id, by)
  }

  /** Whether grants signed with this key count now, by the database. */
  isAdminKey(publicKey: Buffer): Promise<boolean> {
    return this.#adminKeys.isGood(publicKey)
  }

  /** Whether there ever was an admin key: from then on the pool itself grants nothing. */
  anyAdminKey(): Promise<boolean> {
    return this.#adminKeys.everAny()
  }

  /** The token goes into an invite text (see encodeInvite). @throws PoolError invalid_request. */
  invite(wish: NewInvite): Promise<{ id: string; token: Buffer; validUntil: number; expiresInMs: number }> {
    return makeInvite(this.#database, this.#runtime, wish)
  }

  listInvites(page: Page = {}): Promise<InviteRecord[]> {
    return listInvites(this.#database, page)
  }

  listOperators(page: Page = {}): Promise<OperatorRecord[]> {
    return listOperators(this.#database, page)
  }

  /** By id or name. Revokes all keys of its workers, too; once is enough. @throws PoolError not_found. */
  blockOperator(operatorId: string, because: string, by: string): Promise<void> {
    return blockOperator(this.#database, this.#runtime, { operatorId, because, by })
  }

  /** Its workers' keys stay revoked until each is renewed. @throws PoolError not_found, conflict. */
  unblockOperator(operatorId: string, by: string): Promise<void> {
    return unblockOperator(this.#database, operatorId, by)
  }

  /** A worker is named by its id or the beginning of it. Once is enough. @throws PoolError not_found, conflict, invalid_request. */
  async block(whom: Blocked, because: string, by: string): Promise<void> {
    if ('operator' in whom) return this.blockOperator(whom.operator, because, by)
    await this.#database.transaction(async (tx) => {
      if ('address' in whom) await this.#blocks.block(tx, { kind: 'address', subject: whom.address, because, by })
      else {
        const { id } = await findWorker(tx, whom.worker)
        await this.#blocks.block(tx, { kind: 'worker', subject: id, because, by })
      }
    })
  }

  /** Its key is again what it was; keys of an operator stay revoked until renewed. @throws PoolError not_found, conflict, invalid_request. */
  async unblock(whom: Blocked, by: string): Promise<void> {
    if ('operator' in whom) return this.unblockOperator(whom.operator, by)
    await this.#database.transaction(async (tx) => {
      if ('address' in whom) await this.#blocks.lift(tx, 'address', whom.address, by)
      else await this.#blocks.lift(tx, 'worker', (await findWorker(tx, whom.worker)).id, by)
    })
  }

  /** Whether a worker or its operator is blocked. */
  async isBlocked(tx: Tx, workerId: string): Promise<boolean> {
    return (await findWorker(tx, workerId)).blocked !== null
  }

  /** After a granted appeal: its own block, and its operator's unless one of the `convicted` belongs to it, too. */
  async unblockWorker(tx: Tx, workerId: string, convicted: readonly string[], by: string): Promise<void> {
    if ((await findWorker(tx, workerId)).blocked === 'worker') await this.#blocks.lift(tx, 'worker', workerId, by)
    await unblockOperatorOf(tx, workerId, convicted, by)
  }

  /** Those that stand, of all kinds. */
  listBlocks(page?: Page): Promise<BlockRecord[]> {
    return this.#blocks.list(page)
  }

  /** Told within a second of every worker or address that was blocked or freed, wherever it was done; perhaps of some twice. */
  onBlockChange(told: (change: BlockChange) => void): Disposable {
    return this.#blocks.onChange(told)
  }

  /** Revokes keys and invites their operators again. @throws PoolError not_found, invalid_request. */
  rotateWorkers(wish: NewRotation): Promise<RotationStep> {
    return rotateWorkers(this.#database, this.#runtime, wish)
  }

  /** The operator a worker belongs to, by its id; undefined for a key that never joined. */
  async operatorOf(workerId: string): Promise<string | undefined> {
    const [row] = await this.#database.sql<{ id: string }[]>`
      select operator_id as id from worker_keys where id = ${workerId}`
    return row?.id
  }

  async hasOperator(operatorId: string): Promise<boolean> {
    const rows = await this.#database.sql`select from operators where id = ${operatorId}`
    return rows.length > 0
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

  /**
   * Told within a second of every change to a worker’s key, wherever it was made; perhaps of some twice. What was made shortly before
   * somebody followed is told, too: it is no `news`.
   */
  onWorkerKeyChange(told: (worker: WorkerRecord, news: boolean) => void): Disposable {
    return this.#workers.onChange(told)
  }

  /** An act that changes no table, such as draining a worker. */
  recordAct(actor: string, act: Act): Promise<void> {
    return this.#database.transaction((tx) => recordAct(tx, actor, act))
  }

  /** What was changed acts here before anybody hears that it was. */
  async #told(changing: Promise<UserRecord>): Promise<UserRecord> {
    const user = await changing
    await this.#apiKeys.userChanged(user.id)
    return user
  }

  /** Stops following changes. The database stays open. */
  [Symbol.dispose](): void {
    this.#apiKeys[Symbol.dispose]()
    this.#workers[Symbol.dispose]()
    this.#blocks[Symbol.dispose]()
  }
}
