import { sha256 } from '#crypto'
import { openNote, signNote } from '#protocol'
import type { KnownCheckpoint } from './outside-copy.ts'

/** What an admin signs when a log goes on without leaves that it once had. */
export interface GenerationStatement {
  readonly poolId: string
  /** The generation that begins. */
  readonly generation: number
  /** Leaves that are left, and go on as the first ones of the new generation. */
  readonly size: number
  /** The last checkpoint that is known of the generation before. */
  readonly last: Pick<KnownCheckpoint, 'generation' | 'size' | 'root'>
}

/** The text to be signed, see spec/log.md. */
export function generationText({ poolId, generation, size, last }: GenerationStatement): string {
  const known = `${last.generation} ${last.size} ${last.root.toString('base64')}`
  return `lichen/generation/1\npool ${poolId}\ngeneration ${generation}\nsize ${size}\nlast ${known}\n`
}

const adminName = (publicKey: Buffer) => `lichen/admin/${sha256(publicKey).toString('hex')}`

/** The statement as a signed note of an admin. */
export function signGeneration(
  statement: GenerationStatement,
  admin: { readonly publicKey: Buffer; sign(bytes: Buffer): Buffer },
): string {
  const sign = (bytes: Buffer) => admin.sign(bytes)
  return signNote(generationText(statement), { name: adminName(admin.publicKey), publicKey: admin.publicKey, sign })
}

/** Whether `note` is exactly this statement, signed under this key. Whether the key is an admin's, the caller knows. */
export function isGenerationSigned(note: string, statement: GenerationStatement, adminKey: Buffer): boolean {
  const opened = openNote(note, { name: adminName(adminKey), publicKey: adminKey })
  return opened.ok && opened.signatures === 1 && opened.text === generationText(statement)
}

/** What a note says, whoever signed it; undefined: it is none of a generation. */
export function parseGenerationStatement(note: string): GenerationStatement | undefined {
  const [, poolId = '', generation, size, lastGeneration, lastSize, root = ''] =
    /^lichen\/generation\/1\npool (\w+)\ngeneration (\d+)\nsize (\d+)\nlast (\d+) (\d+) (\S+)\n\n/.exec(note) ?? []
  if (poolId === '') return undefined
  const last = { generation: Number(lastGeneration), size: Number(lastSize), root: Buffer.from(root, 'base64') }
  return { poolId, generation: Number(generation), size: Number(size), last }
}
