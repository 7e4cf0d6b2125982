/**
 * Verification: which work is checked, what a check says, and what follows from it.
 *
 * Owns    sampling by epoch keys, the judges of margins and quorums, the standing of a worker, deterrence. All of it pure.
 * Imports crypto, ledger (the lab's money), protocol, reputation. No clock, no dice, no table: the shell reads and writes.
 * Always  the decision to check falls after the worker has signed; no single verifier convicts anybody; each decision can be made
 *         again by anybody from what the pool publishes.
 */
export { verificationOps } from './conformance.ts'
export { type LabResult, type LabRow, labDefaults, labHonestMin, runLab } from './lab/run-lab.ts'
export { zoo } from './lab/zoo.ts'
