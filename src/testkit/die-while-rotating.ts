import type { Settings } from '#config'
import { rotatePoolKey } from '../bin/rotate-pool-key.ts'

/** Rotates the pool's key of a data folder on a database, and dies by SIGKILL right before the step it is told. */
const [data = '', databaseUrl = '', fatal = ''] = process.argv.slice(2)
await rotatePoolKey({ data, databaseUrl } as Settings, {
  signedBy: undefined,
  onStep: (step) => {
    if (step === fatal) process.kill(process.pid, 'SIGKILL')
  },
})
