import type { PoolClient } from './pool-client.ts'
import { CommandProblem, explain, PoolRefusal } from './problem.ts'

const accountPattern = /^(?:pool|treasury|issuance|refund_reserve|(?:user|worker|held|stake|peer):[0-9a-f-]+)$/
const uuidPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Name and account of a user, or an account as it is. A user's id needs no question; a name does, and a role. */
export async function accountOf(client: PoolClient, who: string): Promise<string> {
  if (accountPattern.test(who)) return who
  if (uuidPattern.test(who)) return `user:${who}`
  try {
    const user = await client.json<{ account: string }>('GET', `/v1/admin/users/${encodeURIComponent(who)}`)
    return user.account
  } catch (error) {
    if (!(error instanceof PoolRefusal) || error.code === 'not_found') throw error
    const { code, message } = explain(error)
    const fix = `Only who administers the pool can look up names: give the account instead, user:<id>.`
    throw new CommandProblem(code, `The pool does not say who ${who} is: ${message}`, fix)
  }
}
