import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { ownCommand } from './own-command.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-command-'))
afterAll(() => rmSync(folder, { recursive: true }))
const root = path.join(folder, 'clone')
mkdirSync(path.join(root, 'bin'), { recursive: true })
writeFileSync(path.join(root, 'bin/lichen'), '#!/bin/sh\n', { mode: 0o755 })

test('in a clone the command is the launcher, from where the person stands', () => {
  expect(ownCommand({ root, cwd: root, environment: { PATH: '/usr/bin' } })).toBe('./bin/lichen')
  expect(ownCommand({ root, cwd: folder, environment: {} })).toBe('./clone/bin/lichen')
  expect(ownCommand({ root, cwd: '/', environment: {} })).toBe(`.${root}/bin/lichen`)
  expect(ownCommand({ root, cwd: path.join(root, 'bin'), environment: {} })).toBe('./lichen')
  expect(ownCommand({ root, cwd: '/usr', environment: {} })).toBe(`${root}/bin/lichen`)
})

test('where PATH leads to this installation it is just lichen; to another one, it is not', () => {
  const bin = path.join(folder, 'bin')
  mkdirSync(bin)
  symlinkSync(path.join(root, 'bin/lichen'), path.join(bin, 'lichen'))
  expect(ownCommand({ root, cwd: '/usr', environment: { PATH: `/usr/bin:${bin}` } })).toBe('lichen')
  const elsewhere = path.join(folder, 'elsewhere')
  expect(ownCommand({ root: elsewhere, cwd: '/usr', environment: { PATH: bin } })).toBe(`${elsewhere}/bin/lichen`)
})

test('started by npx it is started by npx again', () => {
  expect(ownCommand({ root, cwd: root, environment: { npm_command: 'exec' } })).toBe('npx lichen')
})
