import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemRuntime as runtime } from '#runtime'
import { temporaryFolder } from '#testkit'
import { lockDataDir } from './data-dir-lock.ts'
import { processIdentity } from './process-identity.ts'

let folder: ReturnType<typeof temporaryFolder>
let data: string
const children: ChildProcess[] = []

beforeEach(() => {
  folder = temporaryFolder()
  data = path.join(folder.path, 'new/data')
})
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  folder[Symbol.dispose]()
})

function sleeper(): ChildProcess & { pid: number } {
  const child = spawn('sleep', ['60'])
  children.push(child)
  return child as ChildProcess & { pid: number }
}

function heldBy(holder: object): void {
  mkdirSync(data, { recursive: true, mode: 0o700 })
  writeFileSync(path.join(data, 'lichen.lock'), JSON.stringify({ id: 'first', ...holder }))
}

const inUse = { refusal: { code: 'data_in_use' } }

describe('a data directory', () => {
  test('is made private, held by one, and free again after it is released', async () => {
    const lock = await lockDataDir(data, runtime)
    expect(statSync(data).mode & 0o777).toBe(0o700)
    await expect(lockDataDir(data, runtime)).rejects.toMatchObject(inUse)
    await lock.release()
    const again = await lockDataDir(data, runtime)
    await again.release()
    expect(readdirSync(data)).toEqual([])
  })

  test('of a killed process is taken over, also when its number belongs to another by now', async () => {
    const child = sleeper()
    heldBy({ ...processIdentity(child.pid) })
    await expect(lockDataDir(data, runtime)).rejects.toMatchObject(inUse)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await (await lockDataDir(data, runtime)).release()
    heldBy({ pid: sleeper().pid, start: 'an earlier boot:1' })
    await (await lockDataDir(data, runtime)).release()
  })

  test('of a dead process is taken over by one of twenty that try at once', async () => {
    for (let round = 0; round < 10; round++) {
      heldBy({ pid: 1, start: 'an earlier boot:1', id: `round ${round}` })
      const tries = await Promise.allSettled(Array.from({ length: 20 }, () => lockDataDir(data, runtime)))
      const locks = tries.flatMap((attempt) => (attempt.status === 'fulfilled' ? [attempt.value] : []))
      expect(locks).toHaveLength(1)
      for (const attempt of tries) if (attempt.status === 'rejected') expect(attempt.reason).toMatchObject(inUse)
      expect(readdirSync(data)).toEqual(['lichen.lock'])
      await locks[0]?.release()
    }
  })

  test('whose lock was torn by a power cut is taken over', async () => {
    heldBy({})
    writeFileSync(path.join(data, 'lichen.lock'), '{"pid":1')
    await (await lockDataDir(data, runtime)).release()
  })

  test('of a program that is stopping is waited for', async () => {
    const first = await lockDataDir(data, runtime)
    await first.stopping()
    const second = lockDataDir(data, runtime)
    await runtime.sleep(200)
    await first.release()
    await (await second).release()
  })

  test('of a program whose npm is gone is waited for', async () => {
    const holder = sleeper()
    heldBy({ ...processIdentity(holder.pid), launcher: { pid: 2 ** 22, start: 'gone' } })
    setTimeout(() => holder.kill('SIGKILL'), 200)
    await (await lockDataDir(data, runtime)).release()
    expect(holder.killed).toBe(true)
  })

  test('that others may look into is refused unless it is still empty', async () => {
    mkdirSync(data, { recursive: true, mode: 0o755 })
    await (await lockDataDir(data, runtime)).release()
    writeFileSync(path.join(data, 'something'), '')
    chmodSync(data, 0o755)
    await expect(lockDataDir(data, runtime)).rejects.toMatchObject({
      refusal: { code: 'key_file_unsafe', fix: `chmod 700 '${data}'` },
    })
  })

  test.runIf(process.getuid?.() === 0)('of another user is not touched by root', async () => {
    mkdirSync(data, { recursive: true, mode: 0o700 })
    writeFileSync(path.join(data, 'pool.key'), '', { mode: 0o600 })
    chownSync(path.join(data, 'pool.key'), 1_000, 1_000)
    await expect(lockDataDir(data, runtime)).rejects.toMatchObject({ refusal: { code: 'config_invalid' } })
    expect(readdirSync(data)).toEqual(['pool.key'])
  })
})
