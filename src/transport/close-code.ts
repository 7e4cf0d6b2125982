/** WebSocket close codes of a session (spec/worker.md §3). */
export const closeCode = {
  goingAway: 1001,
  protocolViolation: 4400,
  refused: 4403,
  authDeadline: 4408,
  replaced: 4409,
  rateExceeded: 4429,
  internal: 4500,
} as const
