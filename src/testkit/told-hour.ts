import { epochCommitment } from '#protocol'
import { systemRuntime } from '#runtime'
import type { TestDatabase } from './test-database.ts'

/** An hour that was told with nothing in it. */
export const toldHour = 490_001

/** Writes it down, as if the pool had told it. */
export async function tellHour({ sql }: TestDatabase): Promise<void> {
  const key = systemRuntime.randomBytes(32)
  await sql`
    insert into epochs (epoch, commitment, key, disclosure)
    values (${toldHour}, ${epochCommitment(key)}, ${key}, ${systemRuntime.randomBytes(32)})`
}
