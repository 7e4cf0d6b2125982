import type { ApiDeps } from '../deps.ts'
import type { ApiLimits } from '../limits.ts'
import type { RequestCounts } from '../request-counts.ts'
import type { Route } from '../route.ts'
import { apiKeyRoutes } from './api-keys.ts'
import { inviteRoutes } from './invites.ts'
import { jobRoutes } from './jobs.ts'
import { offeredModelRoutes } from './models.ts'
import { statusRoute } from './status.ts'
import { workerRoutes } from './workers.ts'

type Needs = Pick<ApiDeps, 'runtime' | 'version' | 'poolId' | 'jobs' | 'models' | 'databaseAnswers' | 'admin'>

/** The owner's doors, all behind the owner's key. */
export function adminRoutes(deps: Needs, limits: ApiLimits, counts: RequestCounts): readonly Route[] {
  const { admin, runtime } = deps
  const now = () => runtime.now()
  return [
    statusRoute(deps, counts),
    ...apiKeyRoutes(admin, runtime, limits),
    ...inviteRoutes(admin, deps.poolId, now),
    ...workerRoutes(admin, now, limits),
    ...offeredModelRoutes(deps.models),
    ...jobRoutes(deps.jobs, limits),
  ]
}
