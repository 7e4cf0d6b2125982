import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/**
 * Files whose tests start pools, load models or run tools take a minute, however short they are: they go first, so that none of them is still
 * running when there is nothing left for the other cores. Vitest knows how long a file takes only where it has run before.
 */
class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const long = /\/(?:tools|backup|embedded|lab|llama|neighbourhood)\/|lifecycle/
    const sorted = await super.sort(files)
    return sorted.sort((a, b) => Number(long.test(b.moduleId)) - Number(long.test(a.moduleId)))
  }
}

export default defineConfig({
  resolve: { conditions: ['lichen-source'] },
  ssr: { resolve: { conditions: ['lichen-source'], externalConditions: ['lichen-source'] } },
  test: {
    include: ['src/**/*.test.ts', 'tools/**/*.test.ts', 'docs/**/*.test.ts'],
    globalSetup: ['src/testkit/global-setup.ts'],
    pool: 'forks',
    // A process for each core, not for each file: half a second for each of them is loading the same sources again.
    isolate: false,
    // Many tests wait for processes to end and leases to run out: one file for each core, where the default leaves one core idle.
    maxWorkers: '100%',
    sequence: { sequencer: LongFirst },
    execArgv: ['-C', 'lichen-source'],
    // Where others share the machine a test may be stalled past its patience: it is run once more there, and both runs are told.
    retry: process.env.CI === 'true' ? 1 : 0,
    // What is awaited comes late on a busy machine; where it comes at all nobody waits longer.
    expect: { poll: { timeout: 20_000 } },
    testTimeout: 240_000,
    hookTimeout: 240_000,
    teardownTimeout: 30_000,
  },
})
