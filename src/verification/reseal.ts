import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import { bytes, numbers, type Tx, uuids } from '#storage'
import { epochKeyLabel } from './epochs.ts'
import { transcriptLabel } from './intake.ts'
import { verificationLimits } from './limits.ts'
import { seal, unseal } from './sealing.ts'

interface Keys {
  readonly old: Buffer
  readonly next: Buffer
  readonly runtime: Pick<Runtime, 'randomBytes'>
}

/**
 * Seals under `next` what lies sealed under `old`: keys of epochs that are not told yet, and those of kept answers. What lies under `next` already
 * stays. @throws PoolError config_invalid when the key of an epoch opens under neither, and nothing lies under `next` yet: else all that could be
 * sealed anew once was, and this key was lost since.
 */
export async function resealAll(tx: Tx, keys: Keys): Promise<void> {
  const { lost, anewBefore } = await resealEpochs(tx, keys)
  const answersBefore = await resealTranscripts(tx, keys)
  if (lost === undefined || anewBefore || answersBefore) return
  throw new PoolError(
    'config_invalid',
    `The key of epoch ${lost} is not sealed under this pool’s storage key: nothing was changed.`,
    'Put the pool’s own `sealing.key` (or, without one, `pool.key`) back into the data folder.',
  )
}

/** Sealed anew; undefined: nothing is to be done, or can be. */
function again({ old, next, runtime }: Keys, label: string, sealed: Buffer): Buffer | undefined {
  const plain = unseal(old, label, sealed)
  return plain && seal(next, label, plain, runtime)
}

/** An epoch whose key opens under neither; and whether one lay under `next` already. */
async function resealEpochs(tx: Tx, keys: Keys): Promise<{ lost: bigint | undefined; anewBefore: boolean }> {
  let lost: bigint | undefined
  let anewBefore = false
  const rows = await tx<{ epoch: bigint; sealed: Buffer }[]>`
    select epoch, sealed from epochs where sealed is not null order by epoch for update`
  for (const { epoch, sealed } of rows) {
    const label = epochKeyLabel(Number(epoch))
    const anew = again(keys, label, sealed)
    if (anew) await tx`update epochs set sealed = ${anew} where epoch = ${epoch}`
    else if (unseal(keys.next, label, sealed)) anewBefore = true
    else lost ??= epoch
  }
  return { lost, anewBefore }
}

interface KeptWrap {
  readonly jobId: string
  readonly choice: number
  readonly attempt: number
  readonly wrap: Buffer
}

/** A day of answers, some at a time. One that opens under neither key was lost before, and is destroyed when its day is over. True: some lay under `next` already. */
async function resealTranscripts(tx: Tx, keys: Keys): Promise<boolean> {
  let anewBefore = false
  let last = { jobId: '00000000-0000-0000-0000-000000000000', choice: 0, attempt: 0 }
  for (;;) {
    const rows = await tx<KeptWrap[]>`
      select job_id as "jobId", choice, attempt, wrap from transcripts
       where (job_id, choice, attempt) > (${last.jobId}, ${last.choice}, ${last.attempt})
       order by job_id, choice, attempt limit ${verificationLimits.resealedAtOnce}`
    const end = rows.at(-1)
    if (!end) return anewBefore
    last = end
    const anew = rows.flatMap((row) => {
      const label = transcriptLabel(row.jobId, row.choice, row.attempt)
      const wrap = again(keys, label, row.wrap)
      if (!wrap && !anewBefore) anewBefore = unseal(keys.next, label, row.wrap) !== undefined
      return wrap ? [{ ...row, wrap }] : []
    })
    await tx`
      update transcripts t set wrap = n.wrap
        from unnest(${uuids(anew.map((r) => r.jobId))}::uuid[], ${numbers(anew.map((r) => r.choice))}::smallint[],
                    ${numbers(anew.map((r) => r.attempt))}::smallint[], ${bytes(anew.map((r) => r.wrap))}::bytea[])
             as n (job_id, choice, attempt, wrap)
       where (t.job_id, t.choice, t.attempt) = (n.job_id, n.choice, n.attempt)`
  }
}
