import type { RefusalCode } from '#protocol'
import { closeCode } from '#transport'

const codes: Partial<Record<RefusalCode, number>> = {
  protocol_violation: closeCode.protocolViolation,
  unsupported_protocol: closeCode.protocolViolation,
  auth_deadline: closeCode.authDeadline,
  session_exists: closeCode.replaced,
  session_replaced: closeCode.replaced,
  rate_exceeded: closeCode.rateExceeded,
  internal_error: closeCode.internal,
  shutting_down: closeCode.goingAway,
  worker_lost: closeCode.goingAway,
}

/** WebSocket close code that goes with a refusal; spec/worker.md lists them. */
export function closeCodeOf(code: RefusalCode): number {
  return codes[code] ?? closeCode.refused
}
