import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { pool, sampleReceipt, sampleResponse } from '../../testkit/receipt-sample.ts'
import { runCommand } from '../../testkit/run-command.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-verify-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function fileOf(name: string, bytes: Buffer): string {
  const file = path.join(folder, name)
  writeFileSync(file, bytes)
  return file
}
const receipt = fileOf('receipt.json', sampleReceipt())
const response = fileOf('response.json', sampleResponse)

const lichen = (args: string[], environment = {}) =>
  runCommand(folder, args, { env: { XDG_CONFIG_HOME: path.join(folder, 'config'), ...environment } })

test('a receipt that fits is exit 0 and one line for each thing that was checked', async () => {
  const { code, out } = await lichen(['verify', receipt, '--response', response])
  expect(code).toBe(0)
  expect(out.split('\n')[0]).toBe(`signed by pool ${pool.id.slice(0, 12)}…, not pinned`)
  expect(out).toContain('the response is, byte for byte, the one that was sent')
})

test('the pool is pinned by id or key, and JSON is for scripts', async () => {
  for (const key of [pool.id, pool.publicKey.toString('base64url')]) {
    const { code, out } = await lichen(['verify', receipt, '--pool', key, '--json'])
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({
      ok: true,
      checked: [expect.stringMatching(/as pinned$/), ...Array(6).fill(expect.any(String))],
    })
  }
  expect((await lichen(['verify', receipt, '--pool', 'f'.repeat(64)])).code).toBe(1)
  expect((await lichen(['verify', receipt, '--pool', 'pool'])).code).toBe(2)
})

test('what does not fit is exit 1 and the sentence that says what', async () => {
  const changed = fileOf(
    'changed.json',
    Buffer.from(sampleReceipt().toString().replace('"price":"2400"', '"price":"2401"')),
  )
  const edited = await lichen(['verify', changed])
  expect(edited).toMatchObject({
    code: 1,
    out: '',
    err: expect.stringContaining('something else than the signed bytes'),
  })
  const other = fileOf('other.json', Buffer.from(`${sampleResponse} `))
  const answer = await lichen(['verify', receipt, '--response', other, '--json'])
  expect(JSON.parse(answer.err).error).toMatchObject({ code: 'response_mismatch' })
  expect(answer.code).toBe(1)
  expect((await lichen(['verify', path.join(folder, 'none.json')])).code).toBe(2)
})

test('by id the receipt comes from the pool, with the API key', async () => {
  const asked: (string | undefined)[] = []
  const server = http.createServer((request, answer) => {
    asked.push(request.url, request.headers.authorization)
    const pending = request.url?.endsWith('2')
    answer.writeHead(pending ? 202 : 200, { 'content-type': 'application/json' })
    answer.end(pending ? '{"status":"pending"}' : sampleReceipt())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const env = { LICHEN_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, LICHEN_API_KEY: 'sk-test' }
  const id = '018bcfe5-6800-7000-8000-000000000001'
  const good = await lichen(['verify', id], env)
  const pending = await lichen(['verify', id.replace(/1$/, '2')], env)
  server.close()
  expect(good).toMatchObject({ code: 0, out: expect.stringContaining('entry 5 of 6') })
  expect(asked.slice(0, 2)).toEqual([`/v1/receipts/${id}`, 'Bearer sk-test'])
  expect(pending).toMatchObject({ code: 1, err: expect.stringContaining('has not ended') })
})

test('the payer key of the proxy is made once, for its owner alone', async () => {
  const first = await lichen(['proxy', '--new-key', '--json'])
  const again = await lichen(['proxy', '--new-key', '--json'])
  const { public_key: key, file } = JSON.parse(first.out)
  expect(JSON.parse(again.out)).toEqual({ public_key: key, file })
  expect(Buffer.from(key, 'base64url')).toHaveLength(32)
  expect(statSync(file).mode & 0o777).toBe(0o600)
  const without = await lichen(['proxy', '--payer-key', path.join(folder, 'none.key'), '--url', 'http://127.0.0.1:1'])
  expect(without).toMatchObject({ code: 1, err: expect.stringContaining('lichen proxy --new-key') })
})
