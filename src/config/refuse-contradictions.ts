import { ConfigError } from './config-error.ts'
import { isIP } from './kinds.ts'
import type { Settings } from './settings-table.ts'

/** Settings that cannot both be meant. Throws {@link ConfigError}. */
export function refuseContradictions(settings: Settings): void {
  const { tlsCert, tlsKey, behindTlsProxy, trustedProxies, upstream, upstreamApiKey } = settings
  const rules: [boolean, string, string][] = [
    [
      (tlsCert === undefined) !== (tlsKey === undefined),
      'Only one of tls_cert and tls_key is set.',
      'Give both: the certificate chain and its private key.',
    ],
    [
      behindTlsProxy && trustedProxies.length === 0,
      'behind_tls_proxy is set, but no proxy is trusted.',
      'Name it, for example --trusted-proxies 10.0.0.2.',
    ],
    [
      upstreamApiKey !== undefined && !upstream.some((url) => url !== 'auto'),
      'upstream_api_key is set without an upstream URL.',
      'Give --upstream URL, or remove the key.',
    ],
  ]
  const broken = rules.find(([wrong]) => wrong)
  if (broken) throw new ConfigError('config_invalid', broken[1], broken[2])
}

/** Refuses to listen where others could read keys and prompts on the wire. Throws {@link ConfigError}. */
export function refuseInsecureBind(settings: Settings): void {
  const { host, tlsCert, behindTlsProxy, insecureBind } = settings
  if (isLoopback(host) || tlsCert !== undefined || behindTlsProxy || insecureBind) return
  throw new ConfigError(
    'insecure_bind',
    `Listening on ${host} without TLS would send keys and prompts across the network in clear.`,
    'Give --tls-cert and --tls-key, or --behind-tls-proxy with --trusted-proxies; --insecure-bind does it all the same.',
  )
}

/** A name other than `localhost` may resolve anywhere, so it counts as beyond loopback. */
export function isLoopback(host: string): boolean {
  if (isIP(host) === 4) return host.startsWith('127.')
  return host === '::1' || host === 'localhost'
}
