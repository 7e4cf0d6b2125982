import { federationLimits } from './limits.ts'

/** Begins the last event of a signed stream; the base64 signature and an empty line follow. */
export const signatureEvent = 'event: signature\ndata: '

/** Reads server-sent events as their exact bytes, one after the other; throws on one without an end. */
export async function* readEvents(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  let held: Buffer = Buffer.alloc(0)
  for await (const piece of pieces) {
    held = held.length === 0 ? piece : Buffer.concat([held, piece])
    for (let at = held.indexOf('\n\n'); at >= 0; at = held.indexOf('\n\n')) {
      yield held.subarray(0, at + 2)
      held = held.subarray(at + 2)
    }
    if (held.length > federationLimits.lentEventBytesMax) throw new Error('an event without an end')
  }
  if (held.length > 0) throw new Error('the stream broke off in an event')
}
