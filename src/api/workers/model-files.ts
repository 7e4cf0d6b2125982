import { PoolError } from '#protocol'
import { requireBearer } from '../bearer.ts'
import type { ApiDeps } from '../deps.ts'
import { type Route, route, StreamReply } from '../route.ts'

/** Model files, for workers that were offered them. Their ticket is the key. */
export function modelFileRoute({ modelFiles }: Pick<ApiDeps, 'modelFiles'>): Route {
  return route({
    method: 'GET',
    path: '/v1/workers/models/:digest',
    caller: 'anyone',
    summary: 'A model file that a worker was offered; ranges are served.',
    handle: ({ params, headers }) => {
      const ticket = requireBearer(headers, 'Send the ticket that came with the offer as bearer.')
      if (ticket instanceof PoolError) throw ticket
      if (!modelFiles) throw new PoolError('not_found', 'This pool hands out no files.', 'Set `model_library`.')
      const { start, end, bytesOf, partial, pieces } = modelFiles.open(params.digest ?? '', ticket, headers.range)
      const length = ['accept-ranges', 'bytes', 'content-length', String(end - start)]
      const range = partial ? ['content-range', `bytes ${start}-${end - 1}/${bytesOf}`] : []
      const status = partial ? 206 : 200
      return new StreamReply('application/octet-stream', pieces, [...length, ...range], undefined, status)
    },
  })
}
