import { z } from 'zod'
import { type Identity, sha256 } from '#crypto'
import type { PoolId } from '#protocol'
import { challengeBytes } from './envelope.ts'
import { federationLimits } from './limits.ts'
import type { Heard } from './receiver.ts'
import { type Answer, answerNo, answerYes } from './signed-route.ts'

const { challengeBytesMax } = federationLimits
const challengeSchema = z.object({ challenge_b64: z.base64().max(4 * Math.ceil(challengeBytesMax / 3)) })

/** Signs what a known pool asks to be signed. In version 1 a short challenge only: no message is so short. */
export function proveKey(self: { poolId: PoolId; identity: Identity }, { envelope, verified }: Heard): Answer {
  const asked = challengeSchema.safeParse(verified.body)
  if (!asked.success) return answerNo(400, `invalid challenge_b64: at most ${challengeBytesMax} bytes in base64`)
  const challenge = Buffer.from(asked.data.challenge_b64, 'base64')
  if (challenge.length > challengeBytesMax) return answerNo(400, `a challenge has at most ${challengeBytesMax} bytes`)
  const { poolId, identity } = self
  const bytes =
    envelope.version === 2
      ? challengeBytes(poolId, envelope.sender, challenge)
      : sha256(Buffer.concat([challenge, Buffer.from(poolId, 'ascii')]))
  return answerYes({
    ok: true,
    echo_challenge_b64: asked.data.challenge_b64,
    signed_response_b64: identity.sign(bytes).toString('base64'),
    self_atom_id: poolId,
  })
}
