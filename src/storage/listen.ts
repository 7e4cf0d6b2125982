import type { Runtime } from '#runtime'
import type { Address } from './address.ts'
import { type Client, openClient } from './client.ts'

/** Listening to one channel until stopped; comes back by itself after the connection or the server was lost. */
export interface Listener extends Disposable {
  stop(): void
}

const backoffMsMax = 1_000

/** postgres.js's own `listen` gives up when the server is away at its first attempt to return. */
export function listen(
  address: Address,
  runtime: Runtime,
  channel: string,
  onMessage: (payload: string) => void,
  onConnected?: () => void,
): Listener {
  let stopped = false
  let client: Client | undefined
  let retry: { cancel(): void } | undefined
  let failures = 0

  const again = () => {
    client?.destroy()
    client = undefined
    if (stopped) return
    retry?.cancel()
    retry = runtime.after(Math.min(backoffMsMax, 50 * 2 ** Math.min(failures++, 5)), attach)
  }
  const attach = async () => {
    const own = openClient(address, {
      max: 1,
      once: true,
      silentMs: 0,
      idleMs: 0,
      statementTimeoutMs: 5_000,
      onNotify: (_channel, payload) => onMessage(payload),
      onLost: () => own === client && again(),
    })
    client = own
    try {
      await own.sql.unsafe(`listen "${channel.replaceAll('"', '""')}"`)
      failures = 0
      if (!stopped) onConnected?.()
    } catch {
      if (own === client) again()
    }
  }
  const stop = () => {
    stopped = true
    retry?.cancel()
    client?.destroy()
  }
  void attach()
  return { stop, [Symbol.dispose]: stop }
}
