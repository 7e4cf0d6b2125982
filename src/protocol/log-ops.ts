import { z } from 'zod'
import { verifyConsistency, verifyInclusion } from '#crypto'
import { type ConformanceOp, conformanceOp, hexSchema, type OpResult, refused } from './conformance.ts'
import { openNote, parseCheckpoint, parseVerifierKey } from './signed-note.ts'

const sizeSchema = z.int().min(0)
const pathSchema = z.array(hexSchema).max(128)

const inclusionSchema = z.strictObject({
  leaf_hash: hexSchema,
  index: sizeSchema,
  size: sizeSchema,
  path: pathSchema,
  root: hexSchema,
})

const consistencySchema = z.strictObject({
  old_size: sizeSchema,
  old_root: hexSchema,
  new_size: sizeSchema,
  new_root: hexSchema,
  path: pathSchema,
})

const noteSchema = z.strictObject({ note: z.string(), vkey: z.string() })

const answer = (valid: boolean): OpResult =>
  valid ? { ok: true, output: { valid } } : refused('bad_proof', 'The proof does not lead to the root.')

function verifyNote({ note, vkey }: z.infer<typeof noteSchema>): OpResult {
  const verifier = parseVerifierKey(vkey)
  if (!verifier) return refused('malformed_vkey', 'The text is no accepted verifier key of Ed25519.')
  const opened = openNote(note, verifier)
  if (!opened.ok) return refused(opened.code, opened.message)
  const checkpoint = parseCheckpoint(opened.text)
  const view = checkpoint && { ...checkpoint, root: checkpoint.root.toString('base64') }
  return { ok: true, output: { text: opened.text, name: verifier.name, checkpoint: view ?? null } }
}

/** Operations on proofs and notes of a log; docs/reference/conformance.md shows one example of each. */
export const logOps: Readonly<Record<string, ConformanceOp>> = {
  'merkle.inclusion': conformanceOp(inclusionSchema, ({ leaf_hash: leaf, ...proof }) =>
    answer(verifyInclusion({ leaf, ...proof })),
  ),
  'merkle.consistency': conformanceOp(consistencySchema, (input) =>
    answer(
      verifyConsistency({
        oldSize: input.old_size,
        oldRoot: input.old_root,
        newSize: input.new_size,
        newRoot: input.new_root,
        path: input.path,
      }),
    ),
  ),
  'note.verify': conformanceOp(noteSchema, verifyNote),
}
