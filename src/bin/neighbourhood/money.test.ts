import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openCheckpoint } from '#protocol'
import { Neighbourhood } from '../../testkit/neighbourhood.ts'

const place = new Neighbourhood()
beforeAll(() => place.start('pool'), 120_000)
afterAll(() => place[Symbol.asyncDispose](), 60_000)

/** A command on the machine of the pool's owner, whose private keys lie in a folder of their own. */
async function lichen(...args: string[]): Promise<unknown> {
  const folder = { XDG_CONFIG_HOME: path.join(place.folder, 'config') }
  const program = place.run([...args, '--json', '--data', place.dataDir], folder)
  const code = await program.ended
  expect(program.stderr).toBe('')
  expect(code).toBe(0)
  return JSON.parse(program.stdout.join('\n'))
}

test('a fresh pool’s owner makes an admin key, credits a user, and finds both in books and log', async () => {
  const [{ account: owners }] = ((await lichen('users', 'ls')) as { data: [{ account: string }] }).data
  const bootstrap = (await lichen('ledger', 'history', 'owner')) as { data: { kind: string; signed_by: string }[] }
  expect(bootstrap.data).toMatchObject([{ kind: 'bootstrap', amount: '1000000000000', memo: 'bootstrap' }])
  await lichen('users', 'create', 'ada')
  const { public_key: key } = (await lichen('admin-key', 'new', 'me')) as { public_key: string }
  const before = await checkpoint()
  const granted = (await lichen('grant', 'ada', '12.5', '--memo', 'for tests')) as { id: string }
  const history = (await lichen('ledger', 'history', 'ada')) as { data: unknown[] }
  expect(history.data).toMatchObject([{ transfer: granted.id, amount: '12500000', signed_by: key, memo: 'for tests' }])
  expect((await checkpoint()).size).toBeGreaterThan(before.size)
  const all = (await lichen('ledger', 'balance')) as { data: { account: string; posted: string }[] }
  expect(all.data.reduce((sum, { posted }) => sum + BigInt(posted), 0n)).toBe(0n)
  expect(all.data).toContainEqual(expect.objectContaining({ account: owners, posted: '1000000000000' }))

  /** What strangers see, under the key that the bootstrap grant was signed with. */
  async function checkpoint() {
    const note = await (await fetch(`${place.url}/v1/log/checkpoint`)).text()
    const opened = openCheckpoint(note, Buffer.from(bootstrap.data[0]?.signed_by ?? '', 'base64url'))
    if (!opened.ok) throw new Error(opened.message)
    return opened.checkpoint
  }
})
