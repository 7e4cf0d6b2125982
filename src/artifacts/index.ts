/**
 * Artifacts: files that are named by their digest, on their way from a pool to its workers.
 *
 * Owns    the pool's library of model files, the tickets to fetch them, and the worker's fetch. No table.
 * Imports protocol, crypto, runtime.
 * Always  a file counts only when its bytes have the digest that was asked for; nobody fetches without a ticket.
 */
export { fetchModel } from './fetch-model.ts'
export { HeldModels } from './held-models.ts'
export { artifactsLimits } from './limits.ts'
export { type LibraryModel, ModelLibrary } from './model-library.ts'
