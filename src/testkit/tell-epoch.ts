import { loadPoolIdentity } from '#identity'
import { jobStages } from '#jobs'
import { TransparencyLog } from '#log'
import { type Runtime, systemRuntime } from '#runtime'
import { type Database, GroupCommit } from '#storage'
import { Epochs } from '../verification/epochs.ts'
import { sealingKey } from '../verification/sealing.ts'

/** Does for a stopped pool what it would do a day later: tells the key of an epoch. */
export async function tellEpoch(database: Database, dataDir: string, epoch: number): Promise<void> {
  const runtime: Runtime = systemRuntime
  const { identity, poolId } = await loadPoolIdentity(dataDir, runtime)
  await using log = await TransparencyLog.open({ database, runtime, poolId, signer: identity, dataDir })
  await using commit = new GroupCommit({ database, runtime, stages: jobStages(log.stage) })
  const key = sealingKey(identity.seed)
  await using epochs = await Epochs.open({ database, commit, runtime, sealingKey: key, logStage: log.stage })
  await epochs.tell(epoch)
}
