import { z } from 'zod'
import { acceptGrant } from '../money/accept-grant.ts'
import type { Till } from '../money/apply-signed.ts'
import { movedJson, movedSchema } from '../money/transfer-shape.ts'
import { type Route, route } from '../route.ts'

/** New credits. The role lets the message in; what counts is the admin key that signed it. */
export function grantRoute(till: Till): Route {
  return route({
    method: 'POST',
    path: '/v1/admin/grants',
    caller: 'admin',
    summary: 'Credit a user with what an admin key signed. The same grant again is answered again.',
    body: z.strictObject({
      /** Wire form of a signed `grant/1`, base64url. */
      grant: z.string().min(1),
    }),
    reply: movedSchema,
    status: 201,
    handle: async ({ body }) => movedJson(await acceptGrant(till, body.grant)),
  })
}
