import { Checker, type CheckerOptions } from './checker.ts'
import { Comparison } from './comparison.ts'
import { Epochs } from './epochs.ts'
import { CheckIntake } from './intake.ts'
import { verificationLimits } from './limits.ts'
import { type Rate, Rates } from './rates.ts'
import { sealingKey } from './sealing.ts'
import { VerifierIndex, type VerifyingWorker } from './verifier-index.ts'

/** Everything that checks answers, in one pool process. */
export interface Checks extends AsyncDisposable {
  readonly intake: CheckIntake
  readonly comparison: Comparison
  workerAvailable(worker: VerifyingWorker): void
  workerGone(id: string): void
}

/** @throws PoolError database_unavailable, log_mismatch. */
export async function openChecks(
  options: Omit<CheckerOptions, 'index' | 'epochs' | 'sealingKey'> & { readonly sealing?: Buffer | undefined },
): Promise<Checks> {
  const { database, runtime, standings, pool, events } = options
  const sealing = options.sealing ?? sealingKey(pool.seed)
  const onProblem = (error: unknown) => events.problem?.(error, 'epochs')
  const epochs = await Epochs.open({ ...options, sealingKey: sealing, onProblem })
  const index = new VerifierIndex((workerId, model) => standings.mayVerify(workerId, model))
  // Of what an upstream gives less can be seen, so it is looked at more often.
  const rateOf = ([worker, model, ppm]: Rate): Rate => {
    return [worker, model, index.isUpstream(worker, model) ? Math.max(ppm, verificationLimits.strictPpmMin) : ppm]
  }
  const rates = await Rates.open(database.sql, runtime, () => standings.rates().map(rateOf))
  const checker = new Checker({ ...options, index, epochs, sealingKey: sealing })
  const intake = new CheckIntake({
    runtime,
    epochs,
    rates,
    standings,
    verifiers: index,
    sealingKey: sealing,
    onOwed: checker.wake,
  })
  const timer = runtime.every(verificationLimits.ratesRenewMs, () => {
    rates.renew().catch((error: unknown) => events.problem?.(error, 'check rates'))
  })
  checker.start()
  return {
    intake,
    comparison: new Comparison({ ...options, index, epochs }),
    workerAvailable: (worker) => index.put(worker),
    workerGone: (id) => index.remove(id),
    async [Symbol.asyncDispose]() {
      timer.cancel()
      await checker[Symbol.asyncDispose]()
      await epochs[Symbol.asyncDispose]()
    },
  }
}
