import type { Identity } from '#identity'
import type { Earnings } from '#ledger'
import type { Log } from '#observability'
import type { WorkerId } from '#protocol'
import type { Acts } from '#verification'
import type { Workers } from '#workers'

interface Needs {
  readonly workers: Pick<Workers, 'drain'>
  readonly identity: Pick<Identity, 'operatorOf' | 'blockOperator'>
  readonly earnings: Pick<Earnings, 'slash' | 'refund' | 'payBack'>
  readonly log: Log
  /** Whether it is another pool: here nobody can freeze or slash it. Each wrong answer is on its record already. */
  readonly isElsewhere: (workerId: string) => boolean
}

/**
 * What a pool does about what its checks found, once for each act. Each is in the transparency log, too. Releases of earnings read the
 * standing itself, each time.
 */
export function actsOfPool({ workers, identity, earnings, log, isElsewhere }: Needs): Acts {
  const tell = (workerId: string, model: string, what: string) => log.warn({ worker: workerId, model }, what)
  return {
    // The worker is not told, and neither is whoever reads its log.
    async pauseReleases() {},
    async resumeReleases({ workerId }) {
      workers.drain(workerId as WorkerId, false)
    },
    async freeze({ workerId, model }) {
      if (isElsewhere(workerId)) return
      workers.drain(workerId as WorkerId)
      tell(workerId, model, 'a worker was frozen: its answers, or what it says of others, do not hold')
    },
    async slash(about) {
      if (isElsewhere(about.workerId)) return
      await earnings.slash(about)
      tell(
        about.workerId,
        about.model,
        'a worker was convicted and slashed: it signed answers that the model did not give',
      )
    },
    async refundUsers({ jobs, ...about }) {
      await earnings.refund(about, jobs)
    },
    async payBack(about) {
      workers.drain(about.workerId as WorkerId, false)
      await earnings.payBack({ ...about, id: about.because })
    },
    async blockOperator({ workerId, model, because }) {
      const operator = await identity.operatorOf(workerId)
      if (operator === undefined) return
      await identity.blockOperator(operator, because, 'pool')
      tell(workerId, model, 'its operator is blocked and its keys are revoked: lichen operators ls')
    },
  }
}
