import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { packageVersion } from '#config'
import { factKinds } from '#federation'
import { lichenBin, testDatabase } from '#testkit'
import { runCommand } from '../../testkit/run-command.ts'
import type { Finding } from './doctor-checks.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-cli-'))
afterAll(() => rmSync(folder, { recursive: true }))

const lichen = (args: string[], more?: { env?: Record<string, string>; input?: string }) =>
  runCommand(folder, args, more)

describe('a command line', () => {
  test('--version says the version and nothing else', async () => {
    expect(await lichen(['--version'])).toEqual({ code: 0, out: `${packageVersion}\n`, err: '' })
  })

  test('whose reader has gone ends without a word', async () => {
    // a shell's `head` ends after the first line; `status` of the pipe is what `lichen` said
    const command = `'${lichenBin}' conformance --list | true; exit "\${PIPESTATUS[0]}"`
    const { status, stderr } = spawnSync('bash', ['-c', command], {
      cwd: folder,
      encoding: 'utf8',
      env: { PATH: process.env.PATH, HOME: folder },
    })
    expect({ status, stderr }).toEqual({ status: 143, stderr: '' })
  })

  test('that rotates the key of a worker says which was put aside, and where there is none', async () => {
    const data = path.join(folder, 'lent')
    const membership = { url: 'http://127.0.0.1:1', poolId: 'ab'.repeat(32), worker: 'cd'.repeat(32) }
    mkdirSync(path.join(data, 'worker'), { recursive: true, mode: 0o700 })
    writeFileSync(path.join(data, 'worker/worker.key'), 'damaged', { mode: 0o600 })
    writeFileSync(path.join(data, 'worker/membership.json'), JSON.stringify(membership), { mode: 0o600 })
    const { code, out } = await lichen(['rotate', 'worker', '--data', data])
    expect(code).toBe(0)
    expect(out).toContain(`lichen workers revoke ${membership.worker}`)
    expect(readdirSync(path.join(data, 'worker')).map((name) => name.replace(/retired-.*/, 'retired'))).toEqual([
      'membership.json.retired',
      'worker.key.retired',
    ])
    const again = await lichen(['rotate', 'worker', '--data', data])
    expect(again).toMatchObject({ code: 1, out: '', err: expect.stringContaining(`no worker's key in ${data}`) })
  })

  test('an unknown command is told the nearest one, exit 2', async () => {
    const { code, err, out } = await lichen(['workes'])
    expect({ code, out }).toEqual({ code: 2, out: '' })
    expect(err).toContain(`Did you mean \`${lichenBin} worker\`?`)
  })

  test('that is to write what was told into a file that is there, or nowhere, says so in a sentence', async () => {
    const there = path.join(folder, 'told.ndjson')
    writeFileSync(there, 'kept')
    const tell = (out: string) =>
      lichen(['audit', 'sampling', '--epoch', '1', '--at', 'http://127.0.0.1:1', '--out', out])
    expect(await tell(there)).toEqual({
      code: 2,
      out: '',
      err: `lichen: ${there} cannot be written (EEXIST).\n  Name a new file.\n`,
    })
    expect((await tell(path.join(folder, 'nowhere/told'))).err).toContain('cannot be written (ENOENT)')
    const fresh = path.join(folder, 'fresh.ndjson')
    expect(await tell(fresh)).toMatchObject({ code: 3, err: expect.stringContaining('cannot be read') })
    expect(readdirSync(folder)).not.toContain('fresh.ndjson')
  })

  test('a wrong flag, a missing argument and a wrong setting are exit 2', async () => {
    for (const args of [
      ['up', '--prot', '1'],
      ['workers', 'approve'],
      ['up', '--port', 'x'],
    ]) {
      expect((await lichen(args)).code, args.join(' ')).toBe(2)
    }
  })

  test('a kind of facts that there is not is refused with those that there are', async () => {
    const { code, err } = await lichen(['fed', 'facts', '--kind', 'nope'])
    expect(code).toBe(2)
    for (const kind of factKinds) expect(err).toContain(kind)
    for (const kind of factKinds) expect((await lichen(['fed', 'facts', '--kind', kind])).code).toBe(3)
  })

  test('a mistake is told in one form, whoever found it, and as JSON where asked', async () => {
    const { err, out } = await lichen(['up', '--prot', '1'])
    expect({ err, out }).toEqual({
      out: '',
      err: "lichen: Unknown option '--prot'.\n  Did you mean --port? `--help` shows usage and examples.\n",
    })
    const asked = await lichen(['workers', 'approve', '--json'])
    expect(JSON.parse(asked.err).error).toEqual({
      code: 'config_invalid',
      message: "Missing required argument 'id'.",
      fix: '`--help` shows usage and examples.',
    })
  })

  test('hints name the command as this person would type it', async () => {
    const launcher = lichenBin
    const { err } = await lichen(['models'])
    expect(err).toContain(`\`${launcher} up\``)
    expect((await lichen(['keys', '--help'])).out).toContain(`$ ${launcher} keys ls`)
    const bin = path.join(folder, 'bin')
    mkdirSync(bin)
    spawnSync('ln', ['-s', launcher, path.join(bin, 'lichen')])
    const found = await lichen(['models'], { env: { PATH: `${process.env.PATH}:${bin}` } })
    expect(found.err).toContain('`lichen up`')
  })

  test('without a pool a command says so, exit 3, as JSON on stderr where asked', async () => {
    const { code, out, err } = await lichen(['workers', 'ls', '--json'])
    expect({ code, out }).toEqual({ code: 3, out: '' })
    expect(JSON.parse(err).error).toMatchObject({ code: 'pool_unreachable', fix: expect.stringContaining('lichen up') })
  })

  test('settings that a pool refuses are exit 2, told with their fix before anything is made', async () => {
    const data = path.join(folder, 'never')
    const [key, text] = [path.join(folder, 'tls.key'), path.join(folder, 'no.toml')]
    writeFileSync(key, 'no key')
    writeFileSync(text, 'prot = 1')
    const refused: [args: string[], env: Record<string, string>, told: string, fix: string][] = [
      [['--host', '0.0.0.0'], {}, 'in clear', '--insecure-bind'],
      [['--behind-tls-proxy'], {}, 'no proxy is trusted', '--trusted-proxies'],
      [['--hold-payments', '1'], {}, 'Cheating would pay', 'hold_payments'],
      [['--tls-cert', '/gone', '--tls-key', key], {}, 'tls_cert names a file that cannot be read', 'path'],
      [['--tls-cert', key, '--tls-key', key], {}, 'are no certificate with its private key', 'PEM'],
      [['--model-library', '/gone.gguf'], {}, 'model_library names a file that cannot be read', 'path'],
      [[], { LICHEN_DATABASE_URL: 'postgres:///pool?host=/run' }, 'names no user', 'postgres://user:password@'],
      [[], { DATABASE_URL: 'postgres://me:100%@db/pool' }, 'has a %', 'postgres://user:password@'],
      [['--config', text], {}, 'The key prot', 'Did you mean port?'],
      [[], { LICHEN_SLOTS: 'x' }, 'LICHEN_SLOTS must be a whole number', 'Requests computed at once'],
      [[], { LICHEN_NOPE: 'x' }, 'LICHEN_NOPE is not a setting', 'LICHEN_NAME'],
    ]
    for (const [args, env, told, fix] of refused) {
      const { code, out, err } = await lichen(['pool', '--json', '--port', '0', '--data', data, ...args], { env })
      expect({ code, out }, args.join(' ')).toEqual({ code: 2, out: '' })
      const { error } = JSON.parse(err)
      expect(error).toEqual({
        code: expect.stringMatching(/^(config_invalid|insecure_bind)$/),
        message: expect.stringContaining(told),
        fix: expect.stringContaining(fix),
      })
    }
    expect(readdirSync(folder)).not.toContain('never')
  })

  test('a database URL that makes no sense is exit 2, too', async () => {
    const data = path.join(folder, 'elsewhere')
    const env = { DATABASE_URL: 'postgres://localhost' }
    const { code, err } = await lichen(['pool', '--json', '--port', '0', '--data', data], { env })
    expect({ code, told: JSON.parse(err.trim().split('\n').at(-1) ?? '').error.code }).toEqual({
      code: 2,
      told: 'config_invalid',
    })
  })

  test('the launcher works through a symbolic link', () => {
    const link = path.join(folder, 'lichen')
    spawnSync('ln', ['-s', lichenBin, link])
    expect(spawnSync(link, ['--version'], { encoding: 'utf8' }).stdout).toBe(`${packageVersion}\n`)
  })
})

describe('completion', () => {
  test('bash completes commands, their own commands and flags', async () => {
    const { out } = await lichen(['completion', 'bash'])
    const script = path.join(folder, 'completion.bash')
    writeFileSync(script, out)
    const complete = (line: string) => {
      const words = line.split(' ')
      const setting = `COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}`
      const run = `source ${script}; ${setting}; _lichen; echo "\${COMPREPLY[@]}"`
      return spawnSync('bash', ['-c', run], { encoding: 'utf8' }).stdout.trim()
    }
    expect(complete('lichen wor')).toBe('worker workers')
    expect(complete('lichen workers app')).toBe('approve appeals')
    expect(complete('lichen up --por')).toBe('--port')
  })

  test('zsh and fish get a script too', async () => {
    expect((await lichen(['completion', 'zsh'])).out).toContain('#compdef lichen')
    expect((await lichen(['completion', 'fish'])).out).toContain(
      "complete -c lichen -f -n 'not __fish_seen_subcommand_from",
    )
    expect((await lichen(['completion', 'tcsh'])).code).toBe(2)
  })
})

describe('the doctor finds', () => {
  const examine = async (args: string[]): Promise<{ code: number; problems: Finding[] }> => {
    const { code, out } = await lichen(['doctor', '--json', ...args])
    return { code, problems: JSON.parse(out).findings.filter((finding: Finding) => finding.state === 'problem') }
  }
  const data = path.join(folder, 'data')

  test('a data folder and a key others may read', async () => {
    mkdirSync(data)
    writeFileSync(path.join(data, 'owner.key'), 'secret')
    chmodSync(path.join(data, 'owner.key'), 0o644)
    chmodSync(data, 0o755)
    const { code, problems } = await examine(['--data', data, '--port', '0'])
    expect(code).toBe(1)
    expect(problems.map((problem) => problem.fix)).toEqual([`chmod 700 ${data}`, `chmod 600 ${data}/owner.key`])
  })

  test('a port another program holds', async () => {
    const server = net.createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as net.AddressInfo
    const { problems } = await examine(['--port', String(port)])
    expect(problems.map((problem) => problem.check)).toEqual(['port'])
    server.close()
  })

  test('a model that is missing, or is no model', async () => {
    const text = path.join(folder, 'notes.gguf')
    writeFileSync(text, 'not a model')
    const missing = await examine(['--port', '0', '--model', path.join(folder, 'gone.gguf')])
    const wrong = await examine(['--port', '0', '--model', text])
    expect(missing.problems.map((problem) => problem.message)).toEqual([
      expect.stringContaining('cannot be read (ENOENT)'),
    ])
    expect(wrong.problems.map((problem) => problem.message)).toEqual([expect.stringContaining('is not a GGUF file')])
  })

  test('nothing wrong with a database that answers', async () => {
    await using db = await testDatabase()
    const { out } = await lichen(['doctor', '--json', '--port', '0'], { env: { DATABASE_URL: db.url } })
    const found = JSON.parse(out).findings.find((finding: Finding) => finding.check === 'database')
    expect(found).toMatchObject({ state: 'ok', message: 'Your PostgreSQL answers.' })
  })

  test('a database and an upstream that do not answer', async () => {
    const closed = 'postgres://nobody@127.0.0.1:1/none'
    const { out } = await lichen(['doctor', '--json', '--upstream', 'http://127.0.0.1:1'], {
      env: { DATABASE_URL: closed },
    })
    const checks = JSON.parse(out).findings.filter((finding: Finding) => finding.state === 'problem')
    expect(checks.map((finding: Finding) => finding.check)).toEqual(['upstream', 'database'])
  })

  test('settings that cannot be meant', async () => {
    const { code, out } = await lichen(['doctor', '--json', '--behind-tls-proxy'])
    expect(code).toBe(1)
    expect(JSON.parse(out).findings).toHaveLength(1)
  })

  test('nothing wrong on a machine that is fit', async () => {
    expect(await examine(['--port', '0', '--upstream', 'auto'])).toEqual({ code: 0, problems: [] })
  })
})
