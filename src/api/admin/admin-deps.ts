import type { Identity } from '#identity'
import type { EventJournal } from '#observability'
import type { Appeals, TrustLogs } from '#verification'
import type { Workers } from '#workers'

/** What administration needs besides the rest of the API. */
export interface AdminDeps {
  readonly identity: Pick<
    Identity,
    | 'createApiKey'
    | 'listApiKeys'
    | 'changeApiKey'
    | 'revokeApiKey'
    | 'createUser'
    | 'listUsers'
    | 'showUser'
    | 'setUserRole'
    | 'setPayerKey'
    | 'disableUser'
    | 'enableUser'
    | 'addAdminKey'
    | 'listAdminKeys'
    | 'revokeAdminKey'
    | 'isAdminKey'
    | 'invite'
    | 'listInvites'
    | 'listOperators'
    | 'hasOperator'
    | 'unblockOperator'
    | 'block'
    | 'unblock'
    | 'listBlocks'
    | 'rotateWorkers'
    | 'recordAct'
    | 'approveWorker'
    | 'renewWorker'
    | 'revokeWorker'
    | 'listWorkers'
    | 'showWorker'
  >
  readonly workers: Pick<Workers, 'list' | 'show' | 'drain'>
  readonly trustLogs: Pick<TrustLogs, 'verifications' | 'reputation'>
  readonly appeals: Pick<Appeals, 'submit' | 'list' | 'decide'>
  /** Whether workers get work, after failures; and an admin's fresh start for one. */
  readonly trust: {
    circuitOf(workerId: string): 'closed' | 'open' | 'half_open'
    reset(workerId: string, actor: string): Promise<void>
  }
  readonly journal: Pick<EventJournal, 'read' | 'add'>
  /** Whose keys a rotation leaves alone unless it is named: the pool's own. */
  readonly ownOperator: string
  /** Where invited workers will find this pool; known once it listens. */
  readonly inviteUrl: () => string
  /** `embedded` or `external`. */
  readonly database: string
  /** Requests that may wait. */
  readonly queueMax: number
  /** What else the owner should know, one sentence each. */
  readonly warnings: () => readonly string[]
}
