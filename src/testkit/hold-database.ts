import { systemRuntime } from '#runtime'
import { type AccountKind, lockDataDir, startEmbeddedPostgres } from '#storage'

/**
 * Program: what a pool does with its data directory, and nothing else. Locks it, starts the database, says so in one
 * JSON line, and stays until SIGTERM. `hold-database DIR [account] [state root]`
 */
const [dataDir = '', account, stateRoot] = process.argv.slice(2)

function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

try {
  const lock = await lockDataDir(dataDir, systemRuntime)
  const server = await startEmbeddedPostgres({
    dataDir,
    runtime: systemRuntime,
    settings: { fsync: 'off' },
    ...(account ? { account: account as AccountKind } : {}),
    ...(stateRoot ? { stateRoot } : {}),
  })
  const stay = setInterval(() => {}, 60_000)
  process.once('SIGTERM', async () => {
    await lock.stopping()
    await server.stop()
    await lock.release()
    clearInterval(stay)
  })
  say({ ready: true, pid: server.pid, account: server.account, target: server.target })
} catch (error) {
  const refusal = error instanceof Error && 'refusal' in error ? error.refusal : { code: String(error) }
  say({ ready: false, refusal })
}
