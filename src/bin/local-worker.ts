/**
 * The worker of `lichen up`, as a process of its own: a crash in it never takes the pool down. Its parent says over IPC
 * what to lend; when the parent is gone, so is it.
 */
import { createLog } from '#observability'
import { systemRuntime } from '#runtime'
import { explain } from './cli/problem.ts'
import { watchLifetime } from './lifetime.ts'
import { runWorker, type WorkerOrder } from './worker-program.ts'

/** Parent → local worker, once. */
export interface LocalWorkerStart {
  readonly order: WorkerOrder
  readonly log: { readonly level: string; readonly pretty: boolean; readonly color: boolean }
}

process.once('message', (start: LocalWorkerStart) => void serve(start))

async function serve({ order, log: style }: LocalWorkerStart): Promise<void> {
  const { log, flush } = createLog({ ...style, program: 'worker' })
  const life = watchLifetime({ runtime: systemRuntime, log, flush, watchLauncher: false, drainMs: order.drainMs })
  process.once('disconnect', () => life.stop('the pool is gone'))
  const tell = (message: object) => process.connected && process.send?.(message, () => {})
  try {
    const end = await runWorker(order, { runtime: systemRuntime, log, life, onStatus: (status) => tell({ status }) })
    if (end.reason === 'refused') tell({ refused: end.why })
    process.exitCode = life.exitCode
  } catch (error) {
    const { code, message, fix } = explain(error)
    log.error({ code, fix }, message)
    tell({ refused: { code, message, fix } })
    process.exitCode = 1
  }
  process.removeAllListeners('disconnect')
  if (process.connected) process.disconnect()
  flush()
}
