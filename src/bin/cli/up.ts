import { Command } from 'commander'
import { settingsOf, withExamples, withSettings } from './options.ts'

export function upCommand(): Command {
  const command = new Command().action(async (options: { json?: boolean }, self: Command) => {
    const settings = await settingsOf(self)
    const { refuseSettings } = await import('../refuse-settings.ts')
    await refuseSettings(settings)
    const { runPool } = await import('../run-pool.ts')
    await runPool({ settings, localWorker: true, json: options.json === true })
  })
  command.addHelpText(
    'after',
    '\nWith --json the first line on stdout, and the only one, comes when requests are answered:' +
      '\n{"ready":true,"url":…,"api_key":…,"pid":…,"pool_id":…}. Progress and logs go to stderr.',
  )
  withSettings(command, ['pool', 'worker'])
  return withExamples(command, [
    ['lichen up', 'on 127.0.0.1:5424, with the demo model'],
    ['lichen up --model ~/models/qwen.gguf', 'with a real one'],
    ['lichen up --upstream auto', 'with the Ollama or llama-server that runs here'],
    ['lichen up --json --port 0 --data /tmp/try', 'from a script, on a free port'],
  ])
}
