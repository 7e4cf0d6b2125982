import { writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { federationLimits } from '#federation'
import { systemRuntime } from '#runtime'
import { simulatedRuntime } from '../testkit/simulated-runtime.ts'
import { temporaryFolder } from '../testkit/temporary-folder.ts'
import { killSwitchFileThere, switchOfFiles } from './kill-switch-files.ts'

const folder = temporaryFolder()
afterAll(() => folder[Symbol.dispose]())
const [first, second] = [path.join(folder.path, 'one'), path.join(folder.path, 'fed_disable')]

test('an operator switches federation off by a file and on by removing it, from one look to the next', async () => {
  expect(await killSwitchFileThere([first, second], systemRuntime)).toBe(false)
  writeFileSync(second, '')
  expect(await killSwitchFileThere([first, second], systemRuntime)).toBe(true)
  await rm(second)
  expect(await killSwitchFileThere([first, second], systemRuntime)).toBe(false)
})

test('a path that cannot be looked at counts as there', async () => {
  writeFileSync(first, '')
  const belowAFile = path.join(first, 'fed_disable')
  expect(await killSwitchFileThere([belowAFile], systemRuntime)).toBe(true)
  await rm(first)
})

test('a file system that does not answer in time counts as there, and leaves no timer', async () => {
  const runtime = simulatedRuntime()
  const answer = killSwitchFileThere([first], runtime, () => new Promise(() => {}))
  runtime.advance(federationLimits.switchMsMax)
  expect(await answer).toBe(true)
  const gone = () => Promise.reject(Object.assign(new Error('gone'), { code: 'ENOENT' }))
  expect(await killSwitchFileThere([first], runtime, gone)).toBe(false)
  expect(runtime.timers).toBe(0)
})

test('what runs is ended when the file appears, and nothing is looked at while nothing runs', async () => {
  const runtime = simulatedRuntime()
  const killSwitch = switchOfFiles([second], runtime)
  const ended = Promise.withResolvers<void>()
  const forget = killSwitch.register(() => ended.resolve())
  writeFileSync(second, '')
  runtime.advance(federationLimits.switchPollMs)
  await ended.promise
  expect(await killSwitch.on()).toBe(true)
  forget()
  expect(runtime.timers).toBe(0)
  await rm(second)
})
