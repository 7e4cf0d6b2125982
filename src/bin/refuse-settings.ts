import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import { ConfigError, refuseInsecureBind, type Settings } from '#config'
import { parseAddress } from '#storage'
import { checkProfiles, deterrenceDefaults, refuseProfitable } from '#verification'

/** What a pool would not start with, before anything is made. @throws ConfigError. */
export async function refuseSettings(settings: Settings): Promise<void> {
  refuseInsecureBind(settings)
  refuseProfitableCheating(settings)
  await readTls(settings)
  for (const place of settings.modelLibrary) await refuseMissing('model_library', place)
  if (settings.databaseUrl !== undefined) parseAddress({ url: settings.databaseUrl })
}

function refuseProfitableCheating({ checkProfile, holdPayments }: Settings): void {
  const checkRatePpm = checkProfiles[checkProfile].ppmMin
  const profitable = refuseProfitable({ ...deterrenceDefaults, checkRatePpm, heldPrices: holdPayments })
  if (!profitable) return
  const fix = `${profitable.fix} Set hold_payments to ${profitable.needed} or more, or check_profile to a stricter one.`
  throw new ConfigError('config_invalid', profitable.message, fix)
}

/** The certificate to serve with, and its key; undefined without TLS. @throws ConfigError when they are no such pair. */
export async function readTls({ tlsCert, tlsKey }: Settings): Promise<{ cert: Buffer; key: Buffer } | undefined> {
  if (tlsCert === undefined || tlsKey === undefined) return undefined
  const [cert, key] = [await contentsOf('tls_cert', tlsCert), await contentsOf('tls_key', tlsKey)]
  const wrong = whyNoPair(cert, key)
  if (wrong === undefined) return { cert, key }
  throw new ConfigError(
    'config_invalid',
    `${tlsCert} and ${tlsKey} are no certificate with its private key (${wrong}).`,
    'Give both in PEM: the certificate chain, its own certificate first, and the unencrypted key of that.',
  )
}

/** OpenSSL takes a certificate and a key of different kinds for halves of two pairs, and then fails every handshake. */
function whyNoPair(cert: Buffer, key: Buffer): string | undefined {
  try {
    createSecureContext({ cert, key })
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)) ? undefined : 'the key is another’s'
  } catch (error) {
    return codeOf(error)
  }
}

async function contentsOf(setting: string, file: string): Promise<Buffer> {
  return readFile(file).catch((error: unknown) => {
    throw notReadable(setting, file, error)
  })
}

async function refuseMissing(setting: string, place: string): Promise<void> {
  await stat(place).catch((error: unknown) => {
    throw notReadable(setting, place, error)
  })
}

function notReadable(setting: string, file: string, error: unknown): ConfigError {
  const sentence = `${setting} names a file that cannot be read: ${file} (${codeOf(error)}).`
  return new ConfigError('config_invalid', sentence, 'Check the path and its permissions.')
}

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code ?? String(error)
