import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { ConfigError, loadSettings, refuseInsecureBind } from './index.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-config-'))
afterAll(() => rmSync(folder, { recursive: true }))

function settingsFile(contents: string): string {
  const file = path.join(folder, `${Math.random()}.toml`)
  writeFileSync(file, contents)
  return file
}

async function refusal(flags: Record<string, unknown>, environment: Record<string, string> = {}): Promise<ConfigError> {
  try {
    await loadSettings(flags, environment)
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
  throw new Error('was not refused')
}

describe('who wins', async () => {
  test('a flag beats the environment, which beats lichen.toml, which beats the default', async () => {
    const config = settingsFile('port = 1\nqueue_max = 1\nslots = 1')
    const environment = { LICHEN_CONFIG: config, LICHEN_PORT: '2', LICHEN_QUEUE_MAX: '2' }
    const settings = await loadSettings({ port: '3' }, environment)
    expect(settings).toMatchObject({ port: 3, queueMax: 2, slots: 1, host: '127.0.0.1' })
  })

  test('a secret may come from a file, and the line end is not part of it', async () => {
    const secret = path.join(folder, 'secret')
    writeFileSync(secret, 'postgres://me:secret@db/lichen\n')
    expect((await loadSettings({}, { LICHEN_DATABASE_URL_FILE: secret })).databaseUrl).toBe(
      'postgres://me:secret@db/lichen',
    )
  })

  test('DATABASE_URL is read, and LICHEN_DATABASE_URL wins over it', async () => {
    expect((await loadSettings({}, { DATABASE_URL: 'postgres://a' })).databaseUrl).toBe('postgres://a')
    const both = { DATABASE_URL: 'postgres://a', LICHEN_DATABASE_URL: 'postgres://b' }
    expect((await loadSettings({}, both)).databaseUrl).toBe('postgres://b')
  })

  test('lichen.toml in the data folder is found by itself, and its paths start beside it', async () => {
    writeFileSync(path.join(folder, 'lichen.toml'), 'model = ["models/a.gguf"]\nrequest_timeout = "2m"')
    const settings = await loadSettings({ data: folder }, {})
    expect(settings.model).toEqual([path.join(folder, 'models/a.gguf')])
    expect(settings.requestTimeout).toBe(120_000)
    rmSync(path.join(folder, 'lichen.toml'))
  })

  test('data lies in one place per user', async () => {
    expect((await loadSettings({}, { XDG_DATA_HOME: '/xdg' })).data).toBe('/xdg/lichen')
    expect((await loadSettings({}, {})).data).toBe(path.join(os.homedir(), '.local/share/lichen'))
  })

  test('several values: a repeated flag, commas in a variable', async () => {
    expect((await loadSettings({ trustedProxies: ['10.0.0.1', '10.1.0.0/16'] }, {})).trustedProxies).toHaveLength(2)
    expect((await loadSettings({}, { LICHEN_TRUSTED_PROXIES: '10.0.0.1, ::1/128' })).trustedProxies).toHaveLength(2)
  })
})

describe('what is refused, with the fix', async () => {
  test.each([
    [
      'a variable that is no setting',
      {},
      { LICHEN_PROT: '1' },
      /LICHEN_PROT is not a setting/,
      /Did you mean LICHEN_PORT\?/,
    ],
    [
      'a key of the file that is no setting',
      {},
      { LICHEN_CONFIG: settingsFile('prot = 1') },
      /key prot in .* is not a setting/,
      /Did you mean port\?/,
    ],
    [
      'a file that is not TOML',
      {},
      { LICHEN_CONFIG: settingsFile('port = ') },
      /not valid TOML: line 1/,
      /Correct that line/,
    ],
    ['a file that is not there', {}, { LICHEN_CONFIG: '/nowhere/lichen.toml' }, /cannot be read/, /Check the path/],
    [
      'a port that cannot be',
      { port: '70000' },
      {},
      /--port must be a whole number from 0 to 65535/,
      /Port of the API/,
    ],
    ['a number in another notation', { port: '1e3' }, {}, /--port must be a whole number/, /./],
    [
      'a word that is none of those allowed',
      {},
      { LICHEN_LOG_LEVEL: 'loud' },
      /LICHEN_LOG_LEVEL must be one of trace/,
      /./,
    ],
    [
      'a value given twice, plainly and as a file',
      {},
      { LICHEN_NAME: 'a', LICHEN_NAME_FILE: '/b' },
      /Both LICHEN_NAME and LICHEN_NAME_FILE/,
      /Keep one/,
    ],
    ['a certificate without its key', { tlsCert: '/a.pem' }, {}, /Only one of tls_cert and tls_key/, /Give both/],
    ['a declared proxy nobody named', { behindTlsProxy: true }, {}, /no proxy is trusted/, /--trusted-proxies/],
    ['a network that cannot be', { trustedProxies: ['10.0.0.0/99'] }, {}, /must be an address or network/, /./],
    [
      'an upstream’s key without an upstream',
      {},
      { LICHEN_UPSTREAM_API_KEY: 'k' },
      /without an upstream/,
      /--upstream/,
    ],
    ['a URL of another kind', { upstream: ['ftp://a'] }, {}, /must be a URL that starts with http/, /./],
    ['an upstream’s key inside its URL', { upstream: ['http://me:secret@a'] }, {}, /must not hold a user/, /./],
    ['a pool that is no id', { federationV1Writes: ['bert'] }, {}, /must be the id of a pool: 64 digits/, /./],
    [
      'a host that is a URL',
      { federationHttpHosts: ['http://pool.lan:5424'] },
      {},
      /must be a host with its port/,
      /./,
    ],
    [
      'a table of the file',
      {},
      { LICHEN_CONFIG: settingsFile('[port]\na = 1') },
      /must be a value, not a table/,
      /Port/,
    ],
    ['a table in a list', {}, { LICHEN_CONFIG: settingsFile('tier = [{ a = 1 }]') }, /must be a value, not/, /./],
    ['several ports', {}, { LICHEN_CONFIG: settingsFile('port = [1, 2]') }, /must be one value, not several/, /Port/],
    ['a time in words', { requestTimeout: '5 minutes' }, {}, /must be a time such as 90s/, /./],
  ])('%s', async (_what, flags, environment, message, fix) => {
    const error = await refusal(flags, environment as Record<string, string>)
    expect(error.code).toBe('config_invalid')
    expect(error.message).toMatch(message)
    expect(error.fix).toMatch(fix)
  })

  test('a tier that is there twice, and a model in two of them', async () => {
    const twice = await refusal({ tier: ['small=moss', 'large=oak', 'small=fern'] })
    expect(twice).toMatchObject({ code: 'config_invalid', message: 'The tier small is there twice.' })
    const both = await refusal({}, { LICHEN_TIER: 'small=moss|fern,large=oak|fern' })
    expect(both).toMatchObject({ code: 'config_invalid', message: 'The model fern is in the tiers twice.' })
  })

  test('a host is compared as URLs have it', async () => {
    const { federationHttpHosts } = await loadSettings({ federationHttpHosts: ['Pool.lan:80', '[::1]:5424'] }, {})
    expect(federationHttpHosts).toEqual(['pool.lan', '[::1]:5424'])
  })

  test('a secret in a wrong value is not repeated in the refusal', async () => {
    expect((await refusal({}, { DATABASE_URL: 'mysql://me:hunter2@db' })).message).not.toContain('hunter2')
  })
})

describe('where a pool may listen', () => {
  const bind = async (flags: Record<string, unknown>) => refuseInsecureBind(await loadSettings(flags, {}))

  test('loopback needs nothing', async () => {
    for (const host of ['127.0.0.1', '127.8.8.8', '::1', 'localhost'])
      await expect(bind({ host })).resolves.toBeUndefined()
  })

  test('beyond loopback without TLS is refused', async () => {
    for (const host of ['0.0.0.0', '::', '192.168.1.4', 'pool.example'])
      await expect(bind({ host })).rejects.toThrow(/in clear/)
  })

  test('a certificate, a declared proxy or a plain yes allows it', async () => {
    const host = '0.0.0.0'
    await expect(bind({ host, tlsCert: '/c.pem', tlsKey: '/k.pem' })).resolves.toBeUndefined()
    await expect(bind({ host, behindTlsProxy: true, trustedProxies: ['10.0.0.2'] })).resolves.toBeUndefined()
    await expect(bind({ host, insecureBind: true })).resolves.toBeUndefined()
  })
})
