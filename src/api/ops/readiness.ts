import type { ApiDeps } from '../deps.ts'

/** Whether a request would be answered now; if not, one sentence says why. */
export interface Readiness {
  readonly ready: boolean
  readonly reason: string | null
}

type Needs = Pick<ApiDeps, 'databaseAnswers' | 'isStopping' | 'models'>

/** Ready means: a job row can be written, and an approved worker with a model is connected to compute it. */
export async function readiness(deps: Needs): Promise<Readiness> {
  if (deps.isStopping()) return { ready: false, reason: 'The pool is stopping.' }
  if (!(await deps.databaseAnswers())) return { ready: false, reason: 'The database does not answer, or cannot write.' }
  if (deps.models.workers > 0) return { ready: true, reason: null }
  return { ready: false, reason: 'No approved worker that offers a model is connected.' }
}
