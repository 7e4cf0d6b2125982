import { z } from 'zod'
import { hex64 } from '#protocol'

/** First member of a backup: what it is of. docs/operating/backup.md describes the format. */
export const headerSchema = z.strictObject({
  lichen: z.literal('backup/1'),
  pool_id: hex64,
  /** ISO 8601. */
  made_at: z.string(),
  version: z.string(),
  /** Migrations of the database, in order. */
  schema: z.array(z.strictObject({ number: z.int(), name: z.string(), checksum: z.string() })),
  /** The newest one in the backup, a signed note; null before the first. */
  checkpoint: z.string().nullable(),
})
export type BackupHeader = z.infer<typeof headerSchema>

/** Last member: what every table must come out as. */
export const manifestSchema = z.strictObject({
  tables: z.array(
    z.strictObject({
      name: z.string(),
      rows: z.int(),
      bytes: z.int(),
      sha256: hex64,
    }),
  ),
})
export type BackupManifest = z.infer<typeof manifestSchema>

/** `tables/03-api_keys/00001.jsonl`: in the order they are filled, in parts. */
export const partName = (place: number, table: string, part: number) =>
  `tables/${String(place).padStart(2, '0')}-${table}/${String(part).padStart(5, '0')}.jsonl`
export const tableOfPart = (name: string) => /^tables\/\d+-(\w+)\/\d+\.jsonl$/.exec(name)?.[1]

/** Who the pool is, and what opens what it has sealed: without them a backup is of no use. `sealing.key` is there once a key was rotated. */
export const poolKeyFiles = ['pool.key', 'session.key', 'owner.key', 'sealing.key'] as const

/** Files of the data folder that a backup holds when it is asked for keys: all that cannot be made again. */
export const keyFiles = [...poolKeyFiles, 'first-api-key'] as const
