import { chmodSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { encodeInvite, parseInvite } from '#identity'
import { demoModelPath, eventually, Neighbourhood } from '#testkit'

const town = new Neighbourhood()
const elsewhere = new Neighbourhood()

beforeAll(async () => {
  await Promise.all([town.start('pool'), elsewhere.start('pool')])
})
afterAll(() => Promise.all([town[Symbol.asyncDispose](), elsewhere[Symbol.asyncDispose]()]))

let count = 0
const join = (invite: string) =>
  town.run([
    'worker',
    'join',
    invite,
    '--model',
    demoModelPath,
    '--json',
    '--data',
    path.join(town.folder, `door-${++count}`),
  ])
const invite = async (...args: string[]) =>
  ((await town.cli('invite', '--operator', 'mallory', '--json', ...args)).json as { invite: string }).invite

test('a text that is no invite is refused before anything is dialled', async () => {
  const program = join('lichen1_nonsense')
  expect(await program.ended).not.toBe(0)
  expect(program.stderr).toMatch(/invite/i)
})

test('an invite works once: whoever replays it with another key is refused', async () => {
  const text = await invite()
  const first = join(text)
  await eventually('the first to ask', async () => (await town.workers()).length === 1)
  const second = join(text)
  expect(await second.ended).not.toBe(0)
  expect(second.stderr).toMatch(/invite_used|already used/i)
  expect(first.running).toBe(true)
  await first.stop()
})

test('an invite of one pool presented to another leaves no token there', async () => {
  const text = await invite()
  const parsed = parseInvite(text)
  if (!parsed.ok) throw new Error(parsed.refusal.message)
  // The man in the middle: the address leads to another pool.
  const program = join(encodeInvite({ ...parsed.invite, url: elsewhere.url }))
  expect(await program.ended).not.toBe(0)
  expect(program.stderr).toMatch(/wrong_pool|another pool|not the pool/i)
  expect(await elsewhere.workers()).toEqual([])
})

test('an expired worker is cut off, refused when it comes back, and welcome once renewed', async () => {
  const dataDir = path.join(town.folder, 'short')
  const text = await invite('--expires', '4s')
  const args = ['worker', 'join', '--model', demoModelPath, '--json', '--data', dataDir]
  const program = town.run([...args.slice(0, 2), text, ...args.slice(2)])
  const before = new Set((await town.workers()).map((worker) => worker.id))
  const worker = await eventually('it to ask', async () => (await town.workers()).find((one) => !before.has(one.id)))
  await town.admin('POST', `/workers/${worker.id}/approve`)
  expect(await program.ended).not.toBe(0)
  expect(program.stderr).toMatch(/expired/i)
  const again = town.run(args)
  expect(await again.ended).not.toBe(0)
  await town.admin('POST', `/workers/${worker.id}/renew`, { expires_in_ms: 3_600_000 })
  const renewed = town.run(args)
  await eventually('it to be back', async () => (await town.workers()).find((one) => one.id === worker.id)?.connected)
  const shown = await town.admin<{ acts: { act: string; by: string }[] }>('GET', `/workers/${worker.id}`)
  expect(shown.acts.map((act) => act.act)).toEqual(expect.arrayContaining(['invited', 'joined', 'approved', 'renewed']))
  await renewed.stop()
})

test('a key file that others may read is refused with the command that mends it', async () => {
  const folder = path.join(town.folder, 'loose')
  const program = town.run(['pool', '--json', '--port', '0', '--data', folder])
  await program.firstLine()
  await program.stop()
  chmodSync(path.join(folder, 'owner.key'), 0o644)
  const again = town.run(['pool', '--json', '--port', '0', '--data', folder])
  expect(await again.ended).toBe(1)
  expect(again.stderr).toMatch(/chmod 600/)
})
