import { execFile, execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-setup-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_')))
const here = (...parts: string[]) => path.join(folder, ...parts)
const npm = (cwd: string, ...args: string[]) => execFileSync('npm', args, { cwd, env: environment, encoding: 'utf8' })

/** A package without dependencies, as a tarball beside the project: nothing here needs a network. */
function pack(name: string, version: string): string {
  mkdirSync(here(name), { recursive: true })
  writeFileSync(here(name, 'package.json'), JSON.stringify({ name, version }))
  npm(here(name), 'pack', '--silent', '--pack-destination', folder)
  return `file:${name}-${version}.tgz`
}

function writeProject(runtime: string, development: string): void {
  const project = { name: 'project', version: '1.0.0', dependencies: { runtime }, devDependencies: { development } }
  writeFileSync(here('package.json'), JSON.stringify(project))
  rmSync(here('package-lock.json'), { force: true })
  npm(folder, 'install', '--package-lock-only', '--ignore-scripts', '--silent')
}

interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

function setup(event: 'prestart' | 'pretest'): Promise<Ended> {
  const env = { ...environment, npm_lifecycle_event: event }
  return new Promise((resolve) => {
    execFile(process.execPath, [here('tools/setup.mjs')], { env }, (error, out, err) => {
      resolve({ code: error ? Number(error.code) : 0, out, err })
    })
  })
}

const has = (name: string) => existsSync(here('node_modules', name))
const installed = expect.stringContaining('Installing dependencies')

beforeAll(() => {
  mkdirSync(here('tools'))
  copyFileSync(path.join(import.meta.dirname, 'setup.mjs'), here('tools/setup.mjs'))
  writeProject(pack('runtime', '1.0.0'), pack('development', '1.0.0'))
})

test('two first starts at once install once, what a pool needs, and say so on stderr only', async () => {
  const both = await Promise.all([setup('prestart'), setup('prestart')])
  expect(both.map((one) => [one.code, one.out])).toEqual([
    [0, ''],
    [0, ''],
  ])
  expect(both.filter((one) => one.err !== '')).toEqual([expect.objectContaining({ err: installed })])
  expect([has('runtime'), has('development')]).toEqual([true, false])
})

test('the next start finds everything there', async () => {
  expect(await setup('prestart')).toEqual({ code: 0, out: '', err: '' })
})

test('the tests add what they need and leave what a running pool uses in place', async () => {
  writeFileSync(here('node_modules/runtime/in-use'), '')
  expect(await setup('pretest')).toMatchObject({ code: 0, out: '', err: installed })
  expect([has('development'), has('runtime/in-use')]).toEqual([true, true])
  expect(await setup('prestart')).toEqual({ code: 0, out: '', err: '' })
})

test('a changed lockfile is followed', async () => {
  writeProject(pack('runtime', '1.1.0'), 'file:development-1.0.0.tgz')
  expect(await setup('prestart')).toMatchObject({ code: 0, err: installed })
  expect(JSON.parse(readFileSync(here('node_modules/runtime/package.json'), 'utf8')).version).toBe('1.1.0')
})

test('an installation that was interrupted is made whole', async () => {
  rmSync(here('node_modules/.package-lock.json'))
  rmSync(here('node_modules/runtime'), { recursive: true })
  expect(await setup('prestart')).toMatchObject({ code: 0, err: installed })
  expect(has('runtime')).toBe(true)
})

test('a lock left by a setup that died is taken away', async () => {
  rmSync(here('node_modules'), { recursive: true })
  writeFileSync(here('.lichen/setup.lock'), '999999999')
  expect(await setup('prestart')).toMatchObject({ code: 0 })
  expect(has('runtime')).toBe(true)
})
