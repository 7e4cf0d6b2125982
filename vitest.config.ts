import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { conditions: ['lichen-source'] },
  ssr: { resolve: { conditions: ['lichen-source'], externalConditions: ['lichen-source'] } },
  test: {
    include: ['src/**/*.test.ts', 'tools/**/*.test.ts', 'docs/**/*.test.ts'],
    globalSetup: ['src/testkit/global-setup.ts'],
    pool: 'forks',
    // Many tests wait for processes to end and leases to run out: one file for each core, where the default leaves one core idle.
    maxWorkers: '100%',
    execArgv: ['-C', 'lichen-source'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 30_000,
  },
})
