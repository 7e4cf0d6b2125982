import { acceptPublicKey, sha256 } from '#crypto'
import { protocolLimits } from './limits.ts'
import { logKeyName, type NoteSigner, openNote, signNote } from './signed-note.ts'

/** What a pool says when another key goes on in the place of its own (spec/federation.md "Succession"). */
export interface Succession {
  /** Raw public keys. */
  readonly from: Buffer
  readonly to: Buffer
  /** The generation of the log that begins with it, signed by the new key. */
  readonly generation: number
  /** The last tree the old key has signed. All of it goes on. */
  readonly last: { readonly generation: number; readonly size: number; readonly root: Buffer }
  /** Unix seconds. */
  readonly at: number
}

type Signer = Pick<NoteSigner, 'publicKey' | 'sign'>

export type SuccessionVerdict =
  | { readonly ok: true; readonly succession: Succession }
  | { readonly ok: false; readonly code: SuccessionRefusalCode }
export type SuccessionRefusalCode =
  | 'malformed_note'
  | 'key_refused'
  | 'same_key'
  | 'generation_refused'
  | 'old_key_missing'
  | 'new_key_missing'

const idOf = (publicKey: Buffer) => sha256(publicKey).toString('hex')
const adminName = (publicKey: Buffer) => `lichen/admin/${idOf(publicKey)}`
const pattern =
  /^lichen\/succession\/1\nfrom ([A-Za-z0-9+/]{43}=)\nto ([A-Za-z0-9+/]{43}=)\ngeneration ([1-9]\d{0,8})\nlast ([1-9]\d{0,8}) (0|[1-9]\d{0,15}) ([A-Za-z0-9+/]{43}=)\nat (0|[1-9]\d{0,11})\n$/

function successionText({ from, to, generation, last, at }: Succession): string {
  const known = `${last.generation} ${last.size} ${last.root.toString('base64')}`
  return `lichen/succession/1\nfrom ${from.toString('base64')}\nto ${to.toString('base64')}\ngeneration ${generation}\nlast ${known}\nat ${at}\n`
}

/**
 * The statement as a signed note: by the old key, by the new one, which shows that it exists, and by an admin where one signs as well. A
 * thief of the pool's key has none of an admin.
 */
export function signSuccession(
  about: Omit<Succession, 'from' | 'to'>,
  { old, next, admin }: { readonly old: Signer; readonly next: Signer; readonly admin?: Signer | undefined },
): string {
  const text = successionText({ ...about, from: old.publicKey, to: next.publicKey })
  const by = (signer: Signer, name: string) =>
    signNote(text, { name, publicKey: signer.publicKey, sign: (bytes) => signer.sign(bytes) }).slice(text.length + 1)
  const lines = [by(old, logKeyName(idOf(old.publicKey))), by(next, logKeyName(idOf(next.publicKey)))]
  return `${text}\n${lines.join('')}${admin ? by(admin, adminName(admin.publicKey)) : ''}`
}

/** Opens a statement: one text, both keys acceptable and both have signed. Whether the old key is the one that was known, the caller checks. */
export function openSuccession(note: string): SuccessionVerdict {
  const refuse = (code: SuccessionRefusalCode) => ({ ok: false, code }) as const
  if (note.length > protocolLimits.noteCharsMax) return refuse('malformed_note')
  const end = note.lastIndexOf('\n\n')
  const found = end < 0 ? null : pattern.exec(note.slice(0, end + 1))
  if (!found) return refuse('malformed_note')
  const bytes = (n: number) => Buffer.from(found[n] ?? '', 'base64')
  const last = { generation: Number(found[4]), size: Number(found[5]), root: bytes(6) }
  const succession = { from: bytes(1), to: bytes(2), generation: Number(found[3]), last, at: Number(found[7]) }
  if (successionText(succession) !== note.slice(0, end + 1) || !Number.isSafeInteger(last.size))
    return refuse('malformed_note')
  const { from, to } = succession
  if (!acceptPublicKey(from).ok || !acceptPublicKey(to).ok) return refuse('key_refused')
  if (from.equals(to)) return refuse('same_key')
  if (succession.generation !== last.generation + 1) return refuse('generation_refused')
  const signedBy = (publicKey: Buffer) => openNote(note, { name: logKeyName(idOf(publicKey)), publicKey }).ok
  if (!signedBy(from)) return refuse('old_key_missing')
  return signedBy(to) ? { ok: true, succession } : refuse('new_key_missing')
}

/** Whether an admin with this key has signed the statement as well. */
export const isSuccessionSignedBy = (note: string, adminKey: Buffer): boolean =>
  openNote(note, { name: adminName(adminKey), publicKey: adminKey }).ok

/** The keys `first` has been followed by, as far as the statements tell; each signed by the one before. Without `first` itself. */
export function successorsOf(first: Buffer, notes: readonly string[]): readonly Buffer[] {
  const keys: Buffer[] = []
  for (let at = first; keys.length < notes.length; ) {
    const next = notes.map(openSuccession).find((one) => one.ok && one.succession.from.equals(at))
    if (!next?.ok || keys.some((key) => key.equals(next.succession.to))) break
    at = next.succession.to
    keys.push(at)
  }
  return keys
}
