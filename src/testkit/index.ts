/**
 * Test kit: a simulated world and real databases for tests and benchmarks.
 *
 * Owns    simulated runtime, session pairs, a workers' door, a paced engine, test databases, canary search.
 * Imports anything.
 * Always  nobody shipped imports it; what it starts, it ends.
 */
export { findCanary } from './find-canary.ts'
export {
  type AdminWorker,
  demoModelPath,
  eventually,
  isAlive,
  lichenBin,
  Neighbourhood,
  Program,
  processTree,
} from './neighbourhood.ts'
export { type OpenDoor, type OpenDoorOptions, openDoor } from './open-door.ts'
export { demoOffer, PacedEngine, type PacedEngineOptions } from './paced-engine.ts'
export { RawWorker } from './raw-worker.ts'
export { RunRecorder } from './run-recorder.ts'
export { selfSigned } from './self-signed.ts'
export { type SessionPair, sessionPair } from './session-pair.ts'
export { type SimulatedRuntime, simulatedRuntime } from './simulated-runtime.ts'
export { temporaryFolder } from './temporary-folder.ts'
export { type TestDatabase, testDatabase } from './test-database.ts'
export { prepareDataDir } from './test-server.ts'
export { testPool, testWorker, withPapers } from './with-papers.ts'
