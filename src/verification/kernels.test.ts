import { afterEach, beforeEach, expect, test } from 'vitest'
import { PoolError } from '#protocol'
import { type SimulatedRuntime, simulatedRuntime } from '#testkit'
import { Kernels, type MeasurableWorker, type Measurement } from './kernels.ts'
import { verificationLimits } from './limits.ts'

const file = 'f1'.repeat(32)
const { kernelAgainMsMean, kernelGatherMs, kernelRetryMsMin } = verificationLimits

let runtime: SimulatedRuntime
let kernels: Kernels
/** The build each worker has; its hash of a text follows from both. */
let builds: Record<string, string>
let asked: (Measurement & { worker: string })[]
let told: string[]

beforeEach(() => {
  runtime = simulatedRuntime(1)
  builds = {}
  asked = []
  told = []
  kernels = new Kernels({
    runtime,
    async measure(worker, ask, signal) {
      asked.push({ worker, ...ask })
      await runtime.sleep(1_000, signal)
      if (builds[worker] === 'broken') throw new PoolError('deadline_exceeded', 'Late.', 'Wait.')
      return Buffer.from(`${builds[worker]} ${ask.text}`).toString('hex').padEnd(64, '0').slice(0, 64)
    },
    tell: (worker, model, kernel) => told.push(`${worker} ${model} ${kernel}`),
  })
})
afterEach(() => kernels[Symbol.dispose]())

function come(id: string, build: string, more: Partial<MeasurableWorker> = {}, offer = {}): void {
  builds[id] = build
  const features = ['chat']
  const offers = [{ name: 'moss', digest: file, contextTokens: 2_048, features, ...offer }]
  kernels.put({ id, features: ['verify'], draining: false, offers, ...more })
}

const settled = () => runtime.pass(kernelGatherMs + 5_000)
const classes = (...ids: string[]) => ids.map((id) => kernels.of(id, file))

test('workers that come together are given one fresh text, and told what they are', async () => {
  come('ann', 'avx')
  come('bob', 'avx')
  come('carla', 'sse')
  await settled()
  const [ann, bob, carla] = classes('ann', 'bob', 'carla')
  expect(ann).toMatch(/^[0-9a-f]{16}-[0-9a-f]{16}$/)
  expect([bob === ann, carla === ann, carla === undefined]).toEqual([true, false, false])
  expect(told.sort()).toEqual([`ann moss ${ann}`, `bob moss ${bob}`, `carla moss ${carla}`])
  expect(new Set(asked.map(({ text }) => text)).size).toBe(1)
  expect(asked[0]?.text).toHaveLength(verificationLimits.kernelTextChars)
})

test('who comes later is compared with one of every class, by another text', async () => {
  for (const id of ['a1', 'a2', 'a3']) come(id, 'avx')
  come('s1', 'sse')
  await settled()
  const before = asked.length
  come('late', 'sse')
  come('odd', 'neon')
  await settled()
  const round = asked.slice(before)
  expect(round).toHaveLength(4)
  expect(round.filter(({ worker }) => builds[worker] === 'avx')).toHaveLength(1)
  expect(round[0]?.text).not.toBe(asked[0]?.text)
  expect(kernels.of('late', file)).toBe(kernels.of('s1', file))
  expect(new Set(classes('a1', 'a2', 'a3', 's1', 'odd')).size).toBe(3)
})

test('nobody is measured who has nobody to be compared with', async () => {
  come('ann', 'avx')
  come('bob', 'avx', { features: [] })
  come('carla', 'avx', { draining: true })
  come('dave', 'avx', {}, { digest: null })
  come('erin', 'avx', {}, { features: ['embedding'] })
  come('fay', 'avx', {}, { digest: 'f2'.repeat(32) })
  await settled()
  expect([asked, classes('ann')]).toEqual([[], [undefined]])
  come('gus', 'avx')
  await settled()
  expect(kernels.of('gus', file)).toBe(kernels.of('ann', file) ?? 'none')
})

test('a worker whose build was changed is found out at a time it does not know', async () => {
  for (const id of ['ann', 'bob', 'carla']) come(id, 'avx')
  await settled()
  const [name] = classes('ann')
  builds.bob = 'sse'
  await runtime.pass(2 * kernelAgainMsMean)
  const [ann, bob, carla] = classes('ann', 'bob', 'carla')
  expect([ann, carla, bob === name]).toEqual([name, name, false])
  expect(told.at(-1)).toBe(`bob moss ${bob}`)
})

test('one that fails keeps what it was and is asked again later, seldomer each time', async () => {
  come('ann', 'avx')
  come('bob', 'broken')
  await settled()
  expect(classes('ann', 'bob')).toEqual([undefined, undefined])
  const failed = asked.filter(({ worker }) => worker === 'bob').length
  expect(failed).toBe(1)
  builds.bob = 'avx'
  await runtime.pass(2 * kernelRetryMsMin)
  expect(kernels.of('bob', file)).toBe(kernels.of('ann', file) ?? 'none')
  builds.bob = 'broken'
  const kept = kernels.of('bob', file)
  await runtime.pass(4 * kernelAgainMsMean)
  expect(kernels.of('bob', file)).toBe(kept)
  expect(asked.filter(({ worker }) => worker === 'bob').length).toBeLessThan(40)
})

test('who leaves is forgotten; a text fits the smallest context', async () => {
  come('ann', 'avx', {}, { contextTokens: 512 })
  come('bob', 'avx')
  await settled()
  expect(asked[0]?.text.length).toBe(384)
  kernels.remove('ann')
  expect(classes('ann')).toEqual([undefined])
  come('bob', 'avx', {}, { name: 'renamed' })
  expect(told.at(-1)).toBe(`bob renamed ${kernels.of('bob', file)}`)
})

test('a worker that leaves and comes again and again makes the others compute a few times, and later each time', async () => {
  for (const id of ['ann', 'bob']) come(id, 'avx')
  await settled()
  const before = asked.length
  for (let n = 0; n < 60; n++) {
    come('fickle', `build ${n}`)
    await settled()
    kernels.remove('fickle')
  }
  expect(asked.slice(before).filter(({ worker }) => worker !== 'fickle')).toHaveLength(
    verificationLimits.kernelComingsMax,
  )
  await runtime.pass(2 * kernelAgainMsMean)
  come('fickle', 'avx')
  await settled()
  expect(kernels.of('fickle', file), 'after some hours it is measured at once').toBe(kernels.of('ann', file))
})
