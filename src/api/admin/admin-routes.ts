import type { ApiDeps } from '../deps.ts'
import type { ApiLimits } from '../limits.ts'
import type { RequestCounts } from '../request-counts.ts'
import type { Route } from '../route.ts'
import { adminKeyRoutes } from './admin-keys.ts'
import { apiKeyRoutes } from './api-keys.ts'
import { appealRoutes } from './appeals.ts'
import { blockRoutes } from './blocks.ts'
import { eventRoute } from './events.ts'
import { federationAdminRoutes } from './federation.ts'
import { factRoutes } from './federation-facts.ts'
import { federationRequestRoutes } from './federation-requests.ts'
import { federationSwitchRoutes } from './federation-switches.ts'
import { federationTokenRoutes } from './federation-tokens.ts'
import { grantRoute } from './grants.ts'
import { inviteRoutes } from './invites.ts'
import { jobRoutes } from './jobs.ts'
import { ledgerRoutes } from './ledger.ts'
import { offeredModelRoutes } from './models.ts'
import { priceRoutes } from './prices.ts'
import { type StatusNeeds, statusRoute } from './status.ts'
import { trustLogRoutes } from './trust-logs.ts'
import { userRoutes } from './users.ts'
import { workerRoutes } from './workers.ts'

type Needs = StatusNeeds & Pick<ApiDeps, 'money' | 'federationAdmin' | 'factsAdmin' | 'requestsAdmin' | 'tokens'>

/** The doors of those who run the pool, each with the least role that may enter. */
export function adminRoutes(deps: Needs, limits: ApiLimits, counts: RequestCounts): readonly Route[] {
  const { admin, money, runtime } = deps
  const now = () => runtime.now()
  return [
    statusRoute(deps, counts),
    ...apiKeyRoutes(admin, runtime, limits),
    ...userRoutes(admin, limits),
    ...adminKeyRoutes(admin, limits),
    ...inviteRoutes(admin, deps.poolId, now, limits),
    ...appealRoutes(admin, limits),
    ...blockRoutes(admin, deps.poolId, now, limits),
    ...workerRoutes(admin, now, limits),
    ...trustLogRoutes(admin, limits),
    eventRoute(admin, limits),
    ...federationAdminRoutes(deps.federationAdmin, limits),
    ...federationSwitchRoutes(deps),
    ...federationTokenRoutes(deps),
    ...factRoutes(deps.factsAdmin),
    ...federationRequestRoutes(deps, limits),
    ...offeredModelRoutes(deps.models),
    ...jobRoutes(deps.jobs, limits),
    ...ledgerRoutes(money, runtime, limits),
    ...priceRoutes(money, runtime),
    grantRoute({ money, identity: admin.identity, runtime }),
  ]
}
