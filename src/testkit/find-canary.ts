import { type Dirent, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

/** Files under a folder that hold a text in any form it may have been stored in: as it is, UTF-16, hex or base64. */
export function findCanary(folder: string, canary: string): string[] {
  const plain = Buffer.from(canary)
  // base64 of the same bytes looks different at each of three alignments; the ends depend on the neighbours
  const base64 = [0, 1, 2].map((shift) =>
    Buffer.concat([Buffer.alloc(shift), plain])
      .toString('base64')
      .slice(shift === 0 ? 0 : 4, -4),
  )
  const forms = [
    plain,
    Buffer.from(canary, 'utf16le'),
    Buffer.from(plain.toString('hex')),
    Buffer.from(plain.toString('hex').toUpperCase()),
    ...base64
      .flatMap((form) => [form, form.replaceAll('+', '-').replaceAll('/', '_')])
      .map((form) => Buffer.from(form)),
  ]
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry: Dirent) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => {
      const bytes = readFileSync(file)
      return forms.some((form) => bytes.includes(form))
    })
}
