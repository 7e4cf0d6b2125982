import type { IncomingMessage } from 'node:http'
import { isLoopback } from '#config'
import type { Refusal } from '#protocol'
import type { ApiDeps } from './deps.ts'

/** Says why a request is not even looked at, whatever its path. */
export type Gate = (request: Pick<IncomingMessage, 'headers' | 'httpVersion'>) => Refusal | undefined

/**
 * What is checked before any door: the headers node:http would answer by itself and in its own words (Host, Expect), a
 * body we would have to unpack, and on a pool for this machine alone the name it was called by.
 */
export function openGate({ loopbackOnly, publicUrl }: Pick<ApiDeps, 'loopbackOnly' | 'publicUrl'>): Gate {
  const publicHost = publicUrl === undefined ? undefined : new URL(publicUrl).hostname
  return ({ headers, httpVersion }) => {
    const { host, expect, 'content-encoding': coding } = headers
    if (httpVersion === '1.1') {
      if (host === undefined) return noHost
      if (expect !== undefined && !/\b100-continue\b/i.test(expect)) return otherExpectation
    }
    if (loopbackOnly && host !== undefined && !leadsHere(host, publicHost)) return otherHost
    if (coding !== undefined && !/^\s*identity\s*$/i.test(coding)) return coded
    return undefined
  }
}

/**
 * A page whose own name was made to point to 127.0.0.1 (DNS rebinding) could read what needs no key; its reader's browser
 * gives it away by sending that name. No Host at all (HTTP/1.0 health checks) comes from no browser.
 */
function leadsHere(host: string, publicHost: string | undefined): boolean {
  const name = /^(\[[\da-f:.]+\]|[^:]*)(?::\d*)?$/i.exec(host)?.[1]?.toLowerCase()
  return name !== undefined && (name === publicHost || isLoopback(name.replace(/^\[(.*)\]$/, '$1')))
}

const noHost: Refusal = {
  code: 'invalid_request',
  message: 'The request has no Host header.',
  fix: 'Use an HTTP client library; HTTP/1.1 requires the header (RFC 9112 §3.2).',
}

const otherExpectation: Refusal = {
  code: 'expectation_failed',
  message: 'Only `Expect: 100-continue` can be met.',
  fix: 'Leave the header out.',
}

const otherHost: Refusal = {
  code: 'host_not_allowed',
  message: 'This pool serves its own machine only, and not under this name.',
  fix: 'Use http://127.0.0.1:PORT, or start the pool with --public-url and the name you use.',
}

const coded: Refusal = {
  code: 'unsupported_media_type',
  message: 'The body is compressed or otherwise encoded.',
  fix: 'Send it as it is, without `content-encoding`.',
}
