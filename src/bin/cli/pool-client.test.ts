import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runCommand } from '../../testkit/run-command.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-client-'))
let answer: (response: http.ServerResponse) => void = () => {}
const server = http.createServer((request, response) => {
  request.resume()
  answer(response)
})
let url = ''
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
  rmSync(folder, { recursive: true })
})

/** How a command is refused, as JSON. */
async function problemOf(...args: string[]) {
  const { code, out, err } = await runCommand(folder, [...args, '--json'])
  expect(out).toBe('')
  return { exit: code, ...JSON.parse(err).error }
}

test.each<[what: string, (response: http.ServerResponse) => void, exit: number, code: string]>([
  ['a web page', (to) => to.end('<html>Welcome</html>'), 1, 'unexpected_answer'],
  ['an error of a web server', (to) => to.writeHead(502).end('<html>Bad gateway</html>'), 1, 'unexpected_answer'],
  [
    'an answer that breaks off',
    (to) => {
      to.writeHead(200, { 'content-length': 100 }).write('{"data"')
      setImmediate(() => to.destroy())
    },
    3,
    'pool_unreachable',
  ],
])('what is told in place of a pool is said in a sentence, with what to do: %s', async (_what, how, exit, code) => {
  answer = how
  const problem = await problemOf('models', '--url', url)
  expect(problem).toEqual({
    exit,
    code,
    message: expect.not.stringMatching(/\n|Error/),
    fix: expect.stringMatching(/\w/),
  })
})

test('files of a pool that cannot be used are named', async () => {
  const data = path.join(folder, 'data')
  mkdirSync(data)
  writeFileSync(path.join(data, 'pool.json'), 'garbage')
  const damaged = await problemOf('models', '--data', data)
  expect(damaged).toMatchObject({ exit: 3, code: 'pool_unreachable' })
  expect(damaged.message).toContain(path.join(data, 'pool.json'))
  writeFileSync(path.join(data, 'pool.json'), JSON.stringify({ url, pid: 1, pool_id: 'ab'.repeat(32) }))
  // what the superuser cannot read either
  mkdirSync(path.join(data, 'owner.key'))
  const unreadable = await problemOf('workers', 'ls', '--data', data)
  expect(unreadable).toMatchObject({
    exit: 1,
    code: 'key_file_unsafe',
    fix: expect.stringContaining('LICHEN_ADMIN_KEY'),
  })
  expect(unreadable.message).toContain(`${path.join(data, 'owner.key')} cannot be read`)
})

test('who has no key for a pool elsewhere is told where commands take one from', async () => {
  answer = (to) => {
    const message = 'You did not provide a key. Send `Authorization: Bearer KEY`; `lichen keys create NAME` makes one.'
    to.writeHead(401).end(JSON.stringify({ error: { code: 'missing_api_key', message } }))
  }
  for (const command of ['workers ls', 'models', 'chat hi', 'verify 018bcfe5-6800-7000-8000-000000000001']) {
    const problem = await problemOf(...command.split(' '), '--url', url)
    expect(problem).toMatchObject({ exit: 1, code: 'missing_api_key', message: expect.stringContaining(url) })
    expect(problem.fix).toMatch(/LICHEN_ADMIN_KEY.*LICHEN_API_KEY/)
  }
})

test('the doctor says under one name that a pool is well or away, and sends nobody to the doctor', async () => {
  const { out } = await runCommand(folder, ['doctor', '--json', '--port', '0', '--url', 'http://127.0.0.1:1'])
  const { findings } = JSON.parse(out)
  const away = findings.filter((finding: { state: string }) => finding.state === 'problem')
  expect(away).toMatchObject([{ check: 'pool', message: expect.stringContaining('does not answer') }])
  expect(away[0].fix).not.toContain('lichen doctor')
})

test('a chat does not send what is no number', async () => {
  for (const flag of [
    ['--max-tokens', 'x'],
    ['--max-tokens', '0'],
    ['--temperature', 'warm'],
    ['--temperature', '3'],
  ])
    expect(await problemOf('chat', 'hi', ...flag, '--url', url)).toMatchObject({ exit: 2, code: 'config_invalid' })
})
