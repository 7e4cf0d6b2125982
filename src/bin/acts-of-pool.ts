import type { Log } from '#observability'
import type { WorkerId } from '#protocol'
import type { Acts } from '#verification'
import type { Workers } from '#workers'

/** What a pool does about what its checks found. Each act is in the transparency log, too. */
export function actsOfPool(workers: Pick<Workers, 'drain'>, log: Log): Acts {
  const tell = (workerId: string, model: string, what: string) => log.warn({ worker: workerId, model }, what)
  return {
    // The worker is not told, and neither is whoever reads its log.
    async pauseReleases() {},
    async resumeReleases({ workerId }) {
      workers.drain(workerId as WorkerId, false)
    },
    async freeze({ workerId, model }) {
      workers.drain(workerId as WorkerId)
      tell(workerId, model, 'a worker was frozen: its answers, or what it says of others, do not hold')
    },
    async slash({ workerId, model }) {
      tell(workerId, model, 'a worker was convicted: it signed answers that the model did not give')
    },
    async refundUsers() {},
    async blockOperator({ workerId, model }) {
      tell(workerId, model, 'revoke the keys of this operator: lichen workers revoke')
    },
  }
}
