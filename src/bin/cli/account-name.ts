import type { PoolClient } from './pool-client.ts'

const accountPattern = /^(?:pool|treasury|issuance|refund_reserve|debt|(?:user|worker|held|stake|peer):[0-9a-f-]+)$/
const uuidPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Account of a user, or an account as it is. A user's id needs no question; a name does, and the role auditor. */
export async function accountOf(client: PoolClient, who: string): Promise<string> {
  if (accountPattern.test(who)) return who
  if (uuidPattern.test(who)) return `user:${who}`
  const user = await client.json<{ account: string }>('GET', `/v1/admin/users/${encodeURIComponent(who)}`)
  return user.account
}
