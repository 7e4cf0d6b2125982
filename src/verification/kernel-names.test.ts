import { afterAll, beforeAll, expect, test } from 'vitest'
import { sha256 } from '#crypto'
import { PoolError } from '#protocol'
import { type SimulatedRuntime, simulatedRuntime } from '#testkit'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import { KernelNames } from './kernel-names.ts'
import { Kernels } from './kernels.ts'
import { verificationLimits } from './limits.ts'

const { calibrationKeptMs, kernelAgainMsMean, kernelGatherMs } = verificationLimits

let home: TestDatabase
beforeAll(async () => {
  home = await testDatabase()
})
afterAll(() => home.drop())

/** One process of a pool; its workers compute as their builds do. */
class Process implements Disposable {
  readonly runtime: SimulatedRuntime
  readonly #kernels: Kernels
  readonly #builds = new Map<string, string>()
  readonly #file: string
  readonly problems: unknown[] = []
  asked = 0

  constructor(file: string, seed: number, names: ConstructorParameters<typeof Kernels>[0]['names']) {
    this.#file = file
    this.runtime = simulatedRuntime(seed, Date.now())
    this.#kernels = new Kernels({
      runtime: this.runtime,
      measure: async (worker, { text }) => {
        this.asked++
        const build = this.#builds.get(worker)
        if (build === 'broken') throw new PoolError('deadline_exceeded', 'Late.', 'Wait.')
        return sha256(Buffer.from(`${build} ${text}`)).toString('hex')
      },
      tell: () => {},
      names,
      onProblem: (error) => this.problems.push(error),
    })
  }

  come(builds: Record<string, string>, contextTokens = 2_048): void {
    for (const [id, build] of Object.entries(builds)) {
      this.#builds.set(id, build)
      const offers = [{ name: 'moss', digest: this.#file, contextTokens, features: ['chat'] }]
      this.#kernels.put({ id, features: ['verify'], draining: false, offers })
    }
  }

  /** What it is found to be in time; the database answers in its own. */
  async classes(...ids: string[]): Promise<(string | undefined)[]> {
    for (let n = 0; n < 200 && ids.some((id) => this.#kernels.of(id, this.#file) === undefined); n++) {
      await this.runtime.pass(kernelGatherMs)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    return ids.map((id) => this.#kernels.of(id, this.#file))
  }

  [Symbol.dispose](): void {
    this.#kernels[Symbol.dispose]()
  }
}

const file = (n: number) => sha256(Buffer.from(`file ${n}`)).toString('hex')
const names = () => new KernelNames(home.database.sql, { now: Date.now })

test('a class has the same name after a restart, and in another process, whoever carries it there', async () => {
  const before = new Process(file(1), 1, names())
  before.come({ ann: 'avx', bob: 'avx', carla: 'sse' })
  const [avx, , sse] = await before.classes('ann', 'bob', 'carla')
  before[Symbol.dispose]()
  using after = new Process(file(1), 2, names())
  after.come({ carla: 'sse', dave: 'avx', erin: 'neon' })
  const [carla, dave, erin] = await after.classes('carla', 'dave', 'erin')
  expect([carla, dave]).toEqual([sse, avx])
  expect(erin).not.toBeOneOf([avx, sse, undefined])
  using beside = new Process(file(1), 3, names())
  beside.come({ fay: 'neon', gus: 'avx' })
  expect(await beside.classes('fay', 'gus')).toEqual([erin, avx])
  using other = new Process(file(2), 4, names())
  other.come({ ann: 'avx', bob: 'avx' })
  expect((await other.classes('ann'))[0]).not.toBeOneOf([avx, sse, erin, undefined])
})

test('a worker that comes back with another build does not take the name of its class along', async () => {
  using first = new Process(file(3), 5, names())
  first.come({ ann: 'avx', bob: 'avx' })
  const [avx] = await first.classes('ann', 'bob')
  using second = new Process(file(3), 6, names())
  second.come({ ann: 'sse', bob: 'sse' })
  expect((await second.classes('ann', 'bob'))[0]).not.toBe(avx)
  using third = new Process(file(3), 7, names())
  third.come({ carla: 'avx', dave: 'sse' })
  expect((await third.classes('carla', 'dave'))[0]).toBe(avx)
})

test('two processes that name one class at the same time agree on the older name later, and others are tried once', async () => {
  using one = new Process(file(4), 8, names())
  using two = new Process(file(4), 9, names())
  one.come({ ann: 'avx', bob: 'sse' })
  two.come({ carla: 'avx', dave: 'sse', erin: 'avx' })
  await Promise.all([one.classes('ann', 'bob'), two.classes('carla', 'dave', 'erin')])
  const rounds = async () => {
    for (const process of [one, two]) {
      await process.runtime.pass(2 * kernelAgainMsMean)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  await expect
    .poll(
      async () => {
        await rounds()
        const [ofOne, ofTwo] = [await one.classes('ann', 'bob'), await two.classes('carla', 'dave', 'erin')]
        expect(ofTwo[2]).toBe(ofTwo[0])
        return new Set([...ofOne, ...ofTwo]).size === 2 && ofOne[0] === ofTwo[0]
      },
      { timeout: 20_000 },
    )
    .toBe(true)
  expect([...one.problems, ...two.problems]).toEqual([])
})

test('while the database is away classes have names of their process; who cannot read the text of a name is not asked', async () => {
  const away = () => Promise.reject(new Error('the database is away'))
  using lonely = new Process(file(5), 10, { of: away, keep: away, seen: away })
  lonely.come({ ann: 'avx', bob: 'avx' })
  const [ann, bob] = await lonely.classes('ann', 'bob')
  expect([ann === bob, ann === undefined]).toEqual([true, false])
  expect(lonely.problems).toHaveLength(1)
  using large = new Process(file(6), 11, names())
  large.come({ ann: 'avx', bob: 'avx' })
  const [name] = await large.classes('ann', 'bob')
  using small = new Process(file(6), 12, names())
  small.come({ ann: 'avx', bob: 'avx' }, 512)
  expect((await small.classes('ann', 'bob'))[0]).not.toBeOneOf([name, undefined])
  expect(small.asked).toBe(2)
})

test('names that nobody carried for a month are forgotten, and of one file only those are kept that were carried last', async () => {
  const { sql } = home.database
  let now = Date.now()
  const kept = new KernelNames(sql, { now: () => now })
  const named = (n: number) => ({ kernel: `k${n}`, text: 'a text', hash: 'ab'.repeat(32) })
  for (let n = 0; n < 3 * verificationLimits.kernelNamesMax; n++) {
    now++
    await kept.keep(file(7), named(n))
    await kept.seen(file(7), ['k0', 'k5'])
  }
  const left = (await kept.of(file(7))).map(({ kernel }) => kernel)
  expect(left).toHaveLength(verificationLimits.kernelNamesMax)
  expect(left.slice(0, 2), 'who makes names up drives out none that is carried').toEqual(['k0', 'k5'])
  await kept.keep(file(7), named(5))
  expect((await kept.of(file(7))).map(({ kernel }) => kernel)).toEqual(left)
  now += calibrationKeptMs - 1_000
  await kept.seen(file(7), ['k5'])
  now += 2_000
  await kept.keep(file(7), named(99))
  expect((await kept.of(file(7))).map(({ kernel }) => kernel)).toEqual(['k5', 'k99'])
})
