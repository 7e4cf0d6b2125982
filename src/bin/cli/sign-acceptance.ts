import type { PoolId } from '#protocol'
import type { PoolClient } from './pool-client.ts'
import { CommandProblem } from './problem.ts'
import { type SigningOptions, signingKey } from './signing-key.ts'

/**
 * An admin's word on a bond with another pool, signed on this machine. `asked` is what the human typed: a pool that would put another one in
 * its place gets no signature. @throws CommandProblem answer_unexpected, PoolError not_found, key_file_unsafe.
 */
export async function signBond(
  client: PoolClient,
  options: SigningOptions,
  { asked, receiver, level }: { asked: string; receiver: string; level: 3 | 4 },
) {
  if (!/^[0-9a-f]{64}$/.test(receiver) || !receiver.startsWith(asked))
    throw new CommandProblem(
      'unexpected_answer',
      'The pool names another one than you did: nothing was signed.',
      'Ask who runs this pool.',
    )
  const [{ systemRuntime }, { signAcceptance }] = await Promise.all([import('#runtime'), import('#federation')])
  const admin = await signingKey(options)
  const { pool: giver } = await client.json<{ pool: PoolId }>('GET', '/version')
  const { key_id, signed_at, signature } = signAcceptance(
    admin,
    { giver, receiver: receiver as PoolId, level },
    systemRuntime.now(),
  )
  return { key_id, signed_at, signature }
}
