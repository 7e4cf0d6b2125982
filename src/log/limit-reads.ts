import { PoolError } from '#protocol'
import type { LogReader } from './transparency-log.ts'

/** The same log for strangers: `max` questions at once, more are refused with `overloaded`. */
export function limitReads(log: LogReader, max: number): LogReader {
  let running = 0
  const limited = async <T>(read: () => Promise<T>): Promise<T> => {
    if (running >= max) {
      throw new PoolError('overloaded', 'Too many ask the log at once.', 'Try again in a second.', {
        retryAfterMs: 1_000,
      })
    }
    running++
    return read().finally(() => running--)
  }
  return {
    checkpoint: () => limited(() => log.checkpoint()),
    findInclusion: (leaf, size) => limited(() => log.findInclusion(leaf, size)),
    consistency: (from, to) => limited(() => log.consistency(from, to)),
    successions: () => limited(() => log.successions()),
    tile: (level, index, width) => limited(() => log.tile(level, index, width)),
  }
}
