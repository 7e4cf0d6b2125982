/**
 * Runtime: time, dice and waiting, handed to every room from the front door.
 *
 * Owns    the clock, the dice, timers, deadlines, registries that are kind to the collector.
 * Imports nothing.
 * Always  no other room reads the clock or throws dice, so a simulator can run the real code.
 */
export { deadlineSignal, withDeadline } from './deadline.ts'
export type { Runtime, Timer } from './runtime.ts'
export { SlotMap, Slots } from './slots.ts'
export { systemRuntime } from './system-runtime.ts'
