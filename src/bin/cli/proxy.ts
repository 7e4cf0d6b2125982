import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import type { Settings } from '#config'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { print } from './output.ts'
import { payerKeyFile } from './payer-key-file.ts'
import { PoolClient, readPoolFile } from './pool-client.ts'
import { CommandProblem } from './problem.ts'

interface ProxyOptions {
  readonly newKey?: boolean
  readonly payerKey?: string
  readonly listen: number
  readonly json?: boolean
}

const seedBytes = 32

export function proxyCommand(): Command {
  const command = new Command()
    .option('--new-key', 'make the payer key if there is none, say its public half, and end')
    .option('--payer-key <file>', 'the payer’s private key (default: $XDG_CONFIG_HOME/lichen/payer-keys/default.key)')
    .option('--listen <port>', 'port on 127.0.0.1; 0 takes a free one', portOf, 8_177)
    .action(async (options: ProxyOptions, self: Command) => {
      const settings = await settingsOf(self)
      const file = options.payerKey ?? payerKeyFile()
      if (options.newKey === true) await sayKey(file, options.json === true)
      else await serve(file, options, settings)
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen proxy --new-key', 'once: a key on this machine, whose public half the pool is told'],
    ['lichen proxy', 'then: programs use http://127.0.0.1:8177/v1 and their API key as before'],
    ['lichen proxy --url https://pool.example', 'for a pool on another machine'],
  ])
}

async function sayKey(file: string, json: boolean): Promise<void> {
  const [{ privateFolder, readOrCreateKeyFile }, { systemRuntime }, { identityFromSeed }] = await Promise.all([
    import('#storage'),
    import('#runtime'),
    import('#crypto'),
  ])
  await privateFolder(path.dirname(file))
  const payer = identityFromSeed(await readOrCreateKeyFile(file, seedBytes, systemRuntime))
  const key = payer.publicKey.toString('base64url')
  print(json, { public_key: key, file }, () => {
    return `${key}\n\nThe private half is in ${file} and nowhere else. The pool is told: lichen users payer-key NAME ${key}`
  })
}

async function serve(file: string, { listen, json }: ProxyOptions, settings: Settings): Promise<void> {
  const [{ readKeyFile }, { systemRuntime: runtime }, { identityFromSeed }, { OrderProxy }] = await Promise.all([
    import('#storage'),
    import('#runtime'),
    import('#crypto'),
    import('../order-proxy.ts'),
  ])
  const seed = await readKeyFile(file, seedBytes)
  if (!seed)
    throw new CommandProblem('not_found', `There is no payer key in ${file}.`, 'Make one: `lichen proxy --new-key`.')
  const poolUrl = new PoolClient(settings).url.replace(/\/(?:v1\/?)?$/, '')
  const ownCertificate = settings.url === undefined ? readPoolFile(settings.data)?.tls_cert : undefined
  const certificate = ownCertificate && readFileSync(ownCertificate, 'utf8')
  const proxy = await OrderProxy.open({
    certificate,
    poolUrl,
    payer: identityFromSeed(seed),
    port: listen,
    runtime,
  }).catch((error) => {
    throw notListening(error, listen)
  })
  print(
    json === true,
    { url: proxy.url, pool: poolUrl },
    () => `${proxy.url}/v1 signs orders for ${poolUrl}. Ctrl-C stops.`,
  )
  await told()
  const second = told().then(() => proxy.close(0))
  await Promise.race([proxy.close(settings.shutdownTimeout), second])
}

/** Resolves when somebody wants the program to end. */
function told(): Promise<void> {
  return new Promise((resolve) => {
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
    const stop = () => {
      for (const signal of signals) process.off(signal, stop)
      resolve()
    }
    for (const signal of signals) process.on(signal, stop)
  })
}

function notListening(error: NodeJS.ErrnoException, port: number): unknown {
  if (error.code !== 'EADDRINUSE') return error
  return new CommandProblem(
    'port_in_use',
    `Another program already listens on port ${port}.`,
    'Give another with --listen; 0 takes a free one.',
  )
}

function portOf(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 65_536
  if (port > 65_535) throw new InvalidArgumentError('Give a port from 0 to 65535.')
  return port
}
