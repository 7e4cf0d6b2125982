/**
 * Scheduler: which worker computes the next run, whose run is next, and which worker is offered which model.
 *
 * Owns    the index of workers by model and load, prefix affinity, the fair queue. No table.
 * Imports protocol. No clock, no dice, no socket, no disk.
 * Always  a decision costs O(log n), no worker gets more runs than it has slots, and no key waits for ever.
 */
export {
  decideOffers,
  noOffers,
  type OfferableWorker,
  type OfferRule,
  type OfferState,
  type OpenOffer,
  offerEnded,
} from './decide-offers.ts'
export type { Ticket } from './fair-queue.ts'
export type { Lane } from './lane.ts'
export { schedulerLimits } from './limits.ts'
export { prefixKeys } from './prefix-affinity.ts'
export { Scheduler, type Urgent } from './scheduler.ts'
export {
  featureBits,
  type LaneFeature,
  type LaneOffer,
  suits,
  type WorkerCapacity,
  WorkerIndex,
} from './worker-index.ts'
