import { acceptPublicKey, sha256, verifySignature } from '#crypto'
import { protocolLimits } from './limits.ts'

/**
 * Signed notes and checkpoints of logs as C2SP writes them (https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint):
 * a text, an empty line, and for each signature a line `— NAME base64(4 bytes of key id ‖ signature)`.
 */

/** Somebody who signs notes, under a name without spaces and plus signs. */
export interface NoteSigner {
  readonly name: string
  /** 32 raw bytes of Ed25519. */
  readonly publicKey: Buffer
  sign(bytes: Buffer): Buffer
}

/** Whose signature is looked for. */
export type NoteVerifier = Pick<NoteSigner, 'name' | 'publicKey'>

/** What a checkpoint says: the log, how many leaves it has, and their root. */
export interface Checkpoint {
  readonly origin: string
  /** Safe integer. */
  readonly size: number
  /** 32 bytes. */
  readonly root: Buffer
}

export type NoteRefusalCode = 'malformed_note' | 'unknown_key' | 'bad_signature' | 'malformed_checkpoint'
type Refused = { readonly ok: false; readonly code: NoteRefusalCode; readonly message: string }
export type NoteVerdict = { readonly ok: true; readonly text: string; readonly signatures: number } | Refused

const ed25519Type = 0x01
const signatureBytes = 64
const refuse = (code: NoteRefusalCode, message: string): Refused => ({ ok: false, code, message })

/** First 4 bytes of sha256(name ‖ 0x0A ‖ 0x01 ‖ public key): tells keys of one name apart, and proves nothing. */
function keyIdOf({ name, publicKey }: NoteVerifier): Buffer {
  return sha256(Buffer.from(`${name}\n`), Buffer.of(ed25519Type), publicKey).subarray(0, 4)
}

/** A verifier key as C2SP writes it: `NAME+8 hex digits+base64(0x01 ‖ public key)`. */
export function formatVerifierKey(verifier: NoteVerifier): string {
  const key = Buffer.concat([Buffer.of(ed25519Type), verifier.publicKey]).toString('base64')
  return `${verifier.name}+${keyIdOf(verifier).toString('hex')}+${key}`
}

/** Undefined when the text is no Ed25519 verifier key, its key id is another, or the key is not accepted. */
export function parseVerifierKey(text: string): NoteVerifier | undefined {
  const [, name, id, base64] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(text) ?? []
  const key = base64 === undefined ? undefined : strictBase64(base64)
  if (!isKeyName(name) || key?.length !== 33 || key[0] !== ed25519Type) return undefined
  const verifier = { name, publicKey: key.subarray(1) }
  if (keyIdOf(verifier).toString('hex') !== id || !acceptPublicKey(verifier.publicKey).ok) return undefined
  return verifier
}

const isKeyName = (name: string | undefined): name is string => name !== undefined && /^[^\s+\p{C}]+$/u.test(name)

/** Bytes of padded standard base64, of which there is one text only (RFC 4648 §3.5). */
function strictBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}

/** A note with one signature. `text` ends with a line feed. Throws when it is no text for a note: our bug. */
export function signNote(text: string, signer: NoteSigner): string {
  if (!isNoteText(text) || !isKeyName(signer.name)) throw new TypeError('this text or name does not make a note')
  const signature = Buffer.concat([keyIdOf(signer), signer.sign(Buffer.from(text))])
  return `${text}\n— ${signer.name} ${signature.toString('base64')}\n`
}

/** Well-formed Unicode, ends with a line feed, no other control character of ASCII. */
const isNoteText = (text: string) => text.isWellFormed() && text.endsWith('\n') && [...text].every(mayStand)
const mayStand = (character: string) => character >= ' ' || character === '\n'

interface SignatureLine {
  readonly name: string
  readonly keyId: Buffer
  readonly signature: Buffer
}

function parseNote(note: string): { text: string; lines: SignatureLine[] } | undefined {
  const end = note.lastIndexOf('\n\n')
  if (note.length > protocolLimits.noteCharsMax || end < 0 || !isNoteText(note)) return undefined
  const lines = note
    .slice(end + 2, -1)
    .split('\n')
    .map(parseSignatureLine)
  if (lines.length > protocolLimits.noteSignaturesMax) return undefined
  return lines.every((line) => line !== undefined) ? { text: note.slice(0, end + 1), lines } : undefined
}

function parseSignatureLine(line: string): SignatureLine | undefined {
  const [, name, base64] = /^— ([^ ]+) ([A-Za-z0-9+/=]+)$/.exec(line) ?? []
  const bytes = base64 === undefined ? undefined : strictBase64(base64)
  if (!isKeyName(name) || !bytes || bytes.length < 5) return undefined
  return { name, keyId: bytes.subarray(0, 4), signature: bytes.subarray(4) }
}

/**
 * Opens a note: lines of unknown keys are passed over, every line that claims to be by `verifier` must be, and one at
 * least is. `signatures` counts all lines.
 */
export function openNote(note: string, verifier: NoteVerifier): NoteVerdict {
  const parsed = parseNote(note)
  if (!parsed) return refuse('malformed_note', 'The text is no signed note.')
  const keyId = keyIdOf(verifier)
  const ours = parsed.lines.filter(({ name, keyId: id }) => name === verifier.name && id.equals(keyId))
  if (ours.length === 0) return refuse('unknown_key', `The note is not signed by ${verifier.name}.`)
  const bytes = Buffer.from(parsed.text)
  const valid = ours.every(
    ({ signature }) => signature.length === signatureBytes && verifySignature(verifier.publicKey, bytes, signature),
  )
  if (!valid) return refuse('bad_signature', `The signature of ${verifier.name} does not fit the note.`)
  return { ok: true, text: parsed.text, signatures: parsed.lines.length }
}

/** The text of a checkpoint: origin, size in decimal, root in base64, a line each. */
export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${root.toString('base64')}\n`
}

/** Undefined unless the text is three lines as {@link formatCheckpoint} writes them: extension lines are refused, too. */
export function parseCheckpoint(text: string): Checkpoint | undefined {
  const [, origin, digits, base64] = /^([^\n]+)\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/=]{44})\n$/.exec(text) ?? []
  const size = Number(digits)
  const root = base64 === undefined ? undefined : strictBase64(base64)
  if (origin === undefined || !Number.isSafeInteger(size) || root?.length !== 32) return undefined
  return { origin, size, root }
}

/**
 * Name of a pool's log (RFC 9162 calls it the log id): its key, and which generation. A log that was continued from a
 * backup with losses is a new generation.
 */
export const logOrigin = (poolId: string, generation: number): string => `lichen/${poolId}/${generation}`

/** The key name a pool signs its checkpoints with. */
export const logKeyName = (poolId: string): string => `lichen/${poolId}`

/** The checkpoint of a pool's log, signed. */
export function signCheckpoint(
  tree: { readonly generation: number; readonly size: number; readonly root: Buffer },
  signer: Omit<NoteSigner, 'name'>,
): string {
  const poolId = sha256(signer.publicKey).toString('hex')
  const text = formatCheckpoint({ origin: logOrigin(poolId, tree.generation), size: tree.size, root: tree.root })
  return signNote(text, { ...signer, name: logKeyName(poolId), sign: (bytes) => signer.sign(bytes) })
}

export type PoolCheckpointVerdict =
  | { readonly ok: true; readonly checkpoint: Checkpoint & { readonly generation: number } }
  | Refused

/**
 * Opens a checkpoint of the pool with this (accepted) public key, strictly: its origin, exactly one signature line, no
 * extension lines.
 */
export function openCheckpoint(note: string, publicKey: Buffer): PoolCheckpointVerdict {
  const poolId = sha256(publicKey).toString('hex')
  const opened = openNote(note, { name: logKeyName(poolId), publicKey })
  if (!opened.ok) return opened
  if (opened.signatures !== 1)
    return refuse('malformed_checkpoint', 'The checkpoint holds lines that are not the pool’s.')
  const checkpoint = parseCheckpoint(opened.text)
  if (!checkpoint)
    return refuse('malformed_checkpoint', 'The note is no checkpoint: origin, size and root are expected.')
  const generation = Number(/\/([1-9][0-9]{0,8})$/.exec(checkpoint.origin)?.[1])
  if (checkpoint.origin !== logOrigin(poolId, generation))
    return refuse('malformed_checkpoint', `The checkpoint is of another log: ${checkpoint.origin}.`)
  return { ok: true, checkpoint: { ...checkpoint, generation } }
}
