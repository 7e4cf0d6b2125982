import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Command } from 'commander'
import { afterAll, expect, test, vi } from 'vitest'
import { packageVersion } from '#config'
import { commands } from './commands.ts'
import { loadCommand, runCli } from './run-cli.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-json-'))
afterAll(() => rmSync(folder, { recursive: true }))

interface Known {
  readonly path: readonly string[]
  readonly command: Command
}

/** Every command and every group of them, as a person types it. */
const known = (await Promise.all(commands.map(loadCommand))).flatMap((command) => withOwn(command, []))

function withOwn(command: Command, above: readonly string[]): Known[] {
  const path = [...above, command.name()]
  return [{ path, command }, ...command.commands.flatMap((one) => withOwn(one, path))]
}

/** Groups that answer by themselves: `lichen prices` lists, `lichen audit` recomputes. */
const answerAlone = ['prices', 'audit']
const groups = known.filter(({ path, command }) => command.commands.length > 0 && !answerAlone.includes(path.join(' ')))

/** Runs a command line here and keeps what it says. */
async function said(...argv: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const kept = (stream: NodeJS.WriteStream) => vi.spyOn(stream, 'write').mockReturnValue(true)
  const [out, err] = [kept(process.stdout), kept(process.stderr)]
  const textOf = (spy: typeof out) => spy.mock.calls.map(([text]) => text).join('')
  try {
    return { code: await runCli(argv), out: textOf(out), err: textOf(err) }
  } finally {
    out.mockRestore()
    err.mockRestore()
  }
}

test('every group of commands that a program calls alone says as JSON what it has, exit 2 as for a person', async () => {
  expect(groups.length).toBeGreaterThan(8)
  for (const { path, command } of groups) {
    expect((await said(...path)).code, path.join(' ')).toBe(2)
    for (const argv of [
      [...path, '--json'],
      ['--json', ...path],
    ]) {
      const { code, out, err } = await said(...argv)
      expect({ code, out }, argv.join(' ')).toEqual({ code: 2, out: '' })
      const { error } = JSON.parse(err)
      expect(error.code).toBe('config_invalid')
      expect(error.message).toContain(command.commands.map((one) => one.name()).join(', '))
      expect(error.fix).toContain(`lichen ${path.join(' ')} --help`)
    }
  }
  const { code, err } = await said('--json')
  expect({ code, code_told: JSON.parse(err).error.code }).toEqual({ code: 2, code_told: 'config_invalid' })
})

test('no command and no group takes --json for a flag it does not know', async () => {
  for (const { path, command } of known) {
    expect(
      command.options.map(({ long }) => long),
      path.join(' '),
    ).toContain('--json')
    const { code, out, err } = await said(...path, '--json', '--nope')
    expect({ code, out }, path.join(' ')).toEqual({ code: 2, out: '' })
    const { error } = JSON.parse(err)
    expect(error).toEqual({
      code: 'config_invalid',
      message: expect.stringMatching(/^Unknown option '--nope'\.$|^Required option '--\S+ <\w+>' not specified\.$/),
      fix: expect.stringMatching(/\w/),
    })
  }
})

test('help for a program is one JSON value, the same however it is asked for', async () => {
  for (const { path, command } of known) {
    const { code, out, err } = await said(...path, '--help', '--json')
    expect({ code, err }, path.join(' ')).toEqual({ code: 0, err: '' })
    const help = JSON.parse(out)
    expect(help.commands.map((one: { name: string }) => one.name)).toEqual(command.commands.map((one) => one.name()))
    expect(help.command).toBe(`lichen ${path.join(' ')}`)
    expect(help.options.map((one: { flags: string }) => one.flags)).toContain('--json')
  }
  const { out } = await said('help', 'keys', '--json')
  expect(out).toBe((await said('--json', 'keys', '--help')).out)
  expect((await said('--', 'help', 'keys', '--json')).out).toBe(out)
  expect(JSON.parse((await said('--json', '--version')).out)).toEqual({ version: packageVersion })
})

test('a completion script for a program is one JSON value', async () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { code, out } = await said('completion', shell, '--json')
    expect(code).toBe(0)
    expect(JSON.parse(out)).toEqual({ shell, script: (await said('completion', shell)).out })
  }
})

test('the operations that can be asked are named to a program in one JSON value', async () => {
  const { code, out } = await said('conformance', '--list', '--json')
  expect(code).toBe(0)
  expect(JSON.parse(out).data).toEqual((await said('conformance', '--list')).out.trim().split('\n'))
})

test('--json before the name of a command holds for that command', async () => {
  for (const argv of [
    ['--json', 'rotate', 'worker'],
    ['rotate', '--json', 'worker'],
    ['rotate', 'worker', '--json'],
  ]) {
    const data = path.join(folder, argv.join('_'))
    mkdirSync(path.join(data, 'worker'), { recursive: true, mode: 0o700 })
    writeFileSync(path.join(data, 'worker/worker.key'), 'damaged', { mode: 0o600 })
    const { code, out, err } = await said(...argv, '--data', data)
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(JSON.parse(out)).toEqual({ ok: true, worker: null })
  }
})
