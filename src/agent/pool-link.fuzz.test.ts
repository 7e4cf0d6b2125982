import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { WorkerId } from '#protocol'
import { PacedEngine, RunRecorder, sessionPair, simulatedRuntime, testWorker, withPapers } from '#testkit'
import { type RunHandle, Workers } from '#workers'
import { EngineSet } from './engine-set.ts'
import { PaperDesk } from './papers.ts'
import { PoolLink } from './pool-link.ts'

const worker = testWorker.id as WorkerId
const pieces = Array.from({ length: 60 }, (_, i) => `${i}`.padStart(3, '.').repeat(1 + (i % 5) * 200))
const whole = pieces.join('')
const body = Buffer.from('{"model":"demo","messages":[{"role":"user","content":"hi"}]}')
const log = { info: () => {}, warn: () => {} }

const step = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('dispatch' as const),
      maxTokens: fc.nat(80),
      deadlineMs: fc.integer({ min: 1, max: 15_000 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('cancel' as const), which: fc.nat() }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('read' as const), which: fc.nat(), bytes: fc.nat(20_000) }) },
  { weight: 20, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(300) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom('drain' as const, 'cut' as const, 'silence' as const, 'revoke' as const),
    }),
  },
)

test('whatever happens, each run ends once, with the beginning of its answer and nothing else', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.array(step, { minLength: 10, maxLength: 80, size: 'max' }), async (seed, steps) => {
      const runtime = simulatedRuntime(seed)
      using workers = new Workers({ runtime })
      const pair = sessionPair(worker)
      workers.attach(pair.pool, { standing: 'approved', expiresAt: null, operator: 'op' })
      const engine = new PacedEngine({ runtime, pieces, everyMs: 7, slots: 3 })
      const link = new PoolLink({
        session: pair.worker,
        engines: new EngineSet([engine], 'a', log),
        runtime,
        log,
        desk: new PaperDesk(testWorker, runtime, { requirePayerSignature: false }),
        onWelcome: () => {},
      })
      const runs: { sink: RunRecorder; handle: RunHandle; cancelled: boolean; maxTokens: number }[] = []
      await runtime.pass(0)

      const act = async (one: (typeof steps)[number]) => {
        const run = 'which' in one ? runs[one.which % Math.max(1, runs.length)] : undefined
        if (one.do === 'dispatch') {
          const sink = new RunRecorder()
          const { maxTokens, deadlineMs } = one
          const order = {
            kind: 'chat' as const,
            model: 'demo',
            digest: null,
            choice: 0,
            seed: '00'.repeat(32),
            resume: [] as number[],
            body,
          }
          runs.push({
            sink,
            handle: workers.dispatch(
              worker,
              withPapers({ ...order, maxTokens, deadlineMs }, { now: runtime.now() }),
              sink,
            ),
            cancelled: false,
            maxTokens,
          })
        } else if (one.do === 'cancel' && run) {
          run.cancelled ||= run.sink.last.length === 0
          run.handle.cancel()
        } else if (one.do === 'read') run?.handle.consumed(one.bytes)
        else if (one.do === 'wait') await runtime.pass(one.ms)
        else if (one.do === 'drain') void link.drain()
        else if (one.do === 'cut') pair.cut()
        else if (one.do === 'silence') pair.silence()
        else if (one.do === 'revoke') workers.disconnect(worker, { code: 'worker_revoked', message: 'm', fix: 'f' })
      }
      for (const one of steps) await act(one)
      await runtime.pass(20_000)

      for (const { sink, cancelled, maxTokens } of runs) {
        expect(sink.last).toHaveLength(cancelled ? 0 : 1)
        expect(whole.startsWith(sink.text)).toBe(true)
        expect(sink.ids.length).toBeLessThanOrEqual(maxTokens)
        if (sink.last[0]?.startsWith('end')) expect(sink.ids.length).toBe(Math.min(maxTokens, pieces.length))
      }
      expect(workers.show(worker).violations).toEqual([])
      expect(workers.show(worker).worker?.active ?? 0).toBe(0)
      expect(link.active).toBe(0)
    }),
    { numRuns: 150 },
  )
})
