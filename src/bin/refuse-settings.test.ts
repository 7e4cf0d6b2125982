import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import type { Settings } from '#config'
import { selfSigned } from '../testkit/self-signed.ts'
import { readTls } from './refuse-settings.ts'

const folder = mkdtempSync(path.join(tmpdir(), 'lichen-tls-'))
afterAll(() => rmSync(folder, { recursive: true }))

async function read(cert: string, key: string) {
  const [tlsCert, tlsKey] = [path.join(folder, 'cert.pem'), path.join(folder, 'key.pem')]
  writeFileSync(tlsCert, cert)
  writeFileSync(tlsKey, key)
  return readTls({ tlsCert, tlsKey } as Settings)
}

const mine = selfSigned()
const edKey = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()

test.each([
  ['as they are', mine.cert, mine.key],
  ['with others behind the certificate', mine.cert + selfSigned().cert, mine.key],
  ['both in one file', mine.key + mine.cert, mine.key + mine.cert],
  ['from Windows', `\ufeff${mine.cert.replaceAll('\n', '\r\n')}`, mine.key.replaceAll('\n', '\r\n')],
])('a certificate and its key are read: %s', async (_, cert, key) => {
  expect(await read(cert, key)).toEqual({ cert: Buffer.from(cert), key: Buffer.from(key) })
})

test.each([
  ['of another certificate', mine.cert, selfSigned().key],
  ['of another kind', mine.cert, edKey],
  ['of a certificate further behind', selfSigned().cert + mine.cert, mine.key],
])('a pool does not start with a key with which no client could ever connect: %s', async (_, cert, key) => {
  await expect(read(cert, key)).rejects.toMatchObject({
    code: 'config_invalid',
    message: expect.stringContaining('are no certificate with its private key'),
  })
})
