import { verificationLimits } from '../limits.ts'
import { type MarginThresholds, marginDefaults } from '../margin.ts'

/** One way of cheating. */
export interface Adversary {
  readonly name: string
  /** What it does, for the table. */
  readonly does: string
  /** Share of its answers that are false, 0 … 1; `rate`: as the run asks for. */
  readonly cheats: number | 'rate'
  /** Share of its false answers that are not what the model would have said anyway, 0 … 1. */
  readonly visible: number
  /** Requests that it answers honestly first. */
  readonly honestRequests: number
  /** How it verifies others. */
  readonly verifies: 'honestly' | 'blindly' | 'accusing' | 'covering'
  /** What its answers are judged by. */
  readonly thresholds: MarginThresholds
  /** How many of them are in one pool; as many as the run asks for where nothing is said. */
  readonly together?: number
  /** How often it comes back with new keys and a new operator. */
  readonly comesBack: number
}

/** Of false answers one in twenty is what the model would have said: short answers often are the same. */
const plain: Omit<Adversary, 'name' | 'does'> = {
  cheats: 0,
  visible: 0.95,
  honestRequests: 0,
  verifies: 'honestly',
  thresholds: marginDefaults,
  comesBack: 0,
}

/** The worst that a kernel class can do for a cheater: pairs that need a higher threshold are not compared. */
const widest: MarginThresholds = { mean: verificationLimits.meanThresholdMax, position: marginDefaults.position }

export const honest: Adversary = { ...plain, name: 'honest', does: 'answers and verifies as it should' }

/** Everybody the lab knows how to play. `cached` comes first: it is the newcomer that cheats at the rate asked for. */
export const zoo: readonly Adversary[] = [
  { ...plain, name: 'cached', does: 'answers some requests from a cache', cheats: 'rate' },
  { ...plain, name: 'lazy', does: 'never computes', cheats: 1 },
  { ...plain, name: 'sabotage', does: 'spoils one answer in ten', cheats: 0.1 },
  { ...plain, name: 'targeted', does: 'spoils the one answer in twenty it cares about', cheats: 0.05 },
  { ...plain, name: 'sparse', does: 'cheats on 3 % only', cheats: 0.03 },
  { ...plain, name: 'quantised', does: 'runs a smaller model; half of it shows', cheats: 1, visible: 0.5 },
  {
    ...plain,
    name: 'class_spoofer',
    does: 'the same, judged as loosely as any class is',
    cheats: 1,
    thresholds: widest,
  },
  { ...plain, name: 'turncoat', does: 'cheats after 2,000 good answers', cheats: 'rate', honestRequests: 2_000 },
  { ...plain, name: 'turncoat_late', does: 'cheats after 20,000 good answers', cheats: 'rate', honestRequests: 20_000 },
  { ...plain, name: 'whitewasher', does: 'comes back with new keys', cheats: 'rate', comesBack: 3 },
  {
    ...plain,
    name: 'colluding_pair',
    does: 'two vouch for each other',
    cheats: 'rate',
    verifies: 'covering',
    together: 2,
  },
  {
    ...plain,
    name: 'colluding_ring',
    does: 'three vouch for each other',
    cheats: 'rate',
    verifies: 'covering',
    together: 3,
  },
  { ...plain, name: 'lazy_verifier', does: 'calls everything clean, unseen', verifies: 'blindly' },
  { ...plain, name: 'false_accuser', does: 'calls good answers bad', verifies: 'accusing' },
]

/** Whether it is found by what it says of others: its delays count its verdicts, not requests. */
export const foundAsVerifier = ({ verifies }: Adversary) => verifies === 'blindly' || verifies === 'accusing'
