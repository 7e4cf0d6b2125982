/**
 * Reputation: how far a worker is trusted.
 *
 * Owns    cumulative sum charts, Beta posteriors, exact bounds of a proportion, circuit breakers and table breakers.
 * Imports runtime, storage. All but the keeper of circuits is pure: no clock, no dice, no table.
 * Always  charts decide who is accused, the posterior only who is asked first; no honest worker is accused for one hit.
 */
export { Breakers } from './breakers.ts'
export {
  type ChartParams,
  type Charts,
  type CheckOutcome,
  chartDefaults,
  moveHeights,
  newCharts,
  updateCharts,
} from './charts.ts'
export { regularisedBeta } from './incomplete-beta.ts'
export { reputationLimits } from './limits.ts'
export { type Posterior, posteriorAfter, routingWeight, unknownPosterior } from './posterior.ts'
export { proportionMax } from './proportion-max.ts'
