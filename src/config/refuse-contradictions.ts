import { ConfigError } from './config-error.ts'
import { isIP } from './kinds.ts'
import type { Settings } from './settings-table.ts'

/** Settings that cannot both be meant. Throws {@link ConfigError}. */
export function refuseContradictions(settings: Settings): void {
  const { tlsCert, tlsKey, behindTlsProxy, trustedProxies, upstream, upstreamApiKey, tier } = settings
  const tierTwice = firstTwice(tier.map(({ name }) => name))
  const modelTwice = firstTwice(tier.flatMap(({ models }) => models))
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
    [
      tierTwice !== undefined,
      `The tier ${tierTwice} is there twice.`,
      'Give each tier once, with all its models: name=model|model.',
    ],
    [
      modelTwice !== undefined,
      `The model ${modelTwice} is in the tiers twice.`,
      'A model belongs to one tier: only what stands before or behind it can stand in for it.',
    ],
  ]
  const broken = rules.find(([wrong]) => wrong)
  if (broken) throw new ConfigError('config_invalid', broken[1], broken[2])
}

const firstTwice = (names: readonly string[]) => names.find((name, n) => names.indexOf(name) !== n)

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
