import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import OpenAI from 'openai'
import { afterAll, expect, test } from 'vitest'

const root = path.join(import.meta.dirname, '..')
const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-packed-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

// Without what this clone's tests set; the machine's own authorities stay, or npm cannot reach a registry behind them.
const environment = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => name === 'NODE_EXTRA_CA_CERTS' || !/^(npm_|LICHEN_|DATABASE_URL|NODE_|VITEST)/.test(name),
  ),
)
const npm = (cwd: string, ...args: string[]) =>
  execFileSync('npm', args, { cwd, env: environment, encoding: 'utf8', timeout: 300_000 })

/** Packs this clone and installs the tarball into a project of its own, with our overrides: no GPU builds. */
function installPacked(): string {
  const [packed] = JSON.parse(npm(root, 'pack', '--json', '--pack-destination', folder)) as { filename: string }[]
  const { overrides } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ name: 'consumer', private: true, overrides }))
  const quiet = ['--no-audit', '--no-fund', '--prefer-offline', '--ignore-scripts', '--loglevel=error']
  npm(folder, 'install', ...quiet, path.join(folder, packed?.filename ?? ''))
  return path.join(folder, 'node_modules/.bin/lichen')
}

/** What the compiler says of a strict program that imports `lichen/client` as a user does; types of Node are ours. */
function compileAgainst(folder: string): string {
  const program = [
    "import { createClient, type ReceiptVerdict, verifyReceipt } from 'lichen/client'",
    "export const pay: typeof fetch = createClient({ poolUrl: 'http://127.0.0.1:1', apiKey: 'k', payerKey: new Uint8Array(32) })",
    'export const verdict: ReceiptVerdict = verifyReceipt(Buffer.alloc(0))',
    '// @ts-expect-error a client without a payer key is none',
    "createClient({ poolUrl: 'http://127.0.0.1:1', apiKey: 'k' })",
    '',
  ]
  writeFileSync(path.join(folder, 'program.mts'), program.join('\n'))
  const flags = '--noEmit --strict --module nodenext --target es2024 --lib es2024,esnext.disposable --types node'.split(
    ' ',
  )
  const typeRoots = ['--typeRoots', path.join(root, 'node_modules/@types')]
  const compiler = path.join(root, 'node_modules/typescript/bin/tsc')
  const { stdout } = spawnSync(process.execPath, [compiler, ...flags, ...typeRoots, 'program.mts'], {
    cwd: folder,
    encoding: 'utf8',
  })
  return stdout
}

test('the packed tarball, installed elsewhere, starts, answers and stops', { timeout: 600_000 }, async () => {
  const lichen = installPacked()
  const installed = path.join(folder, 'node_modules/lichen')
  expect(() => readFileSync(path.join(installed, 'src/bin/lichen.ts'))).toThrow(/ENOENT/)
  const version = execFileSync(lichen, ['--version'], { encoding: 'utf8', env: environment })
  expect(version.trim()).toBe(JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')).version)

  const imported =
    "import { createClient, verifyReceipt } from 'lichen/client'; console.log(typeof createClient, typeof verifyReceipt)"
  const types = execFileSync(process.execPath, ['--input-type=module', '-e', imported], {
    cwd: folder,
    encoding: 'utf8',
  })
  expect(types.trim()).toBe('function function')

  expect(compileAgainst(folder)).toBe('')

  const args = ['up', '--json', '--port', '0', '--data', path.join(folder, 'data')]
  const pool = spawn(lichen, args, { env: environment, stdio: ['ignore', 'pipe', 'ignore'] })
  const ended = once(pool, 'exit')
  try {
    const [line] = await once(readline.createInterface({ input: pool.stdout }), 'line')
    const { url, api_key: apiKey } = JSON.parse(String(line))
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey })
    const answer = await client.chat.completions.create({
      model: 'lichen-demo',
      messages: [{ role: 'user', content: '3+4=?' }],
      temperature: 0,
    })
    expect(answer.choices[0]?.message.content).toBe('7')
  } finally {
    pool.kill('SIGTERM')
  }
  expect(await ended).toEqual([0, null])
})
