import { acceptPublicKey, sha256 } from '#crypto'
import { PoolError } from '#protocol'

/** What one admin hands another in person: a key and where its pool is. Short enough for a QR code. */
export interface Bundle {
  readonly key: Buffer
  /** Empty where nobody outside reaches it. */
  readonly url: string
}

const head = 'lichen-pool:1:'
const form = /^lichen-pool:1:([A-Za-z0-9_-]{43}):([0-9a-f]{8}):(\S{0,512})$/

/** One line of printable characters without spaces; eight of them find a slip of the pen or the camera. */
export function writeBundle({ key, url }: Bundle): string {
  return `${head}${key.toString('base64url')}:${checkOf(key, url)}:${url}`
}

export const looksLikeBundle = (text: string): boolean => text.startsWith(head)

/** @throws PoolError invalid_request when it was copied wrongly, or its key is one under which everybody could sign. */
export function readBundle(text: string): Bundle {
  const [, encoded = '', check, url = ''] = form.exec(text.trim()) ?? []
  const key = Buffer.from(encoded, 'base64url')
  if (key.toString('base64url') !== encoded || check !== checkOf(key, url) || !acceptPublicKey(key).ok)
    throw new PoolError(
      'invalid_request',
      'This is no whole bundle of a pool.',
      'Copy all of it: it is one line of `lichen fed info` on the other pool.',
    )
  return { key, url }
}

const checkOf = (key: Buffer, url: string) =>
  sha256(Buffer.concat([key, Buffer.from(url)]))
    .toString('hex')
    .slice(0, 8)
