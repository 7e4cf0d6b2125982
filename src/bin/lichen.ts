/**
 * The entry of every command. Nothing is loaded that the command does not need: `lichen --version` is as quick as Node.
 */
import description from '../../package.json' with { type: 'json' }

// `lichen … | head`: whoever read has seen enough. A pool ends in good order, as after any SIGTERM; another command just ends.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.kill(process.pid, 'SIGTERM')
})

const asked = process.argv.slice(2)
if (asked.length === 1 && (asked[0] === '--version' || asked[0] === '-V')) {
  process.stdout.write(`${description.version}\n`)
} else {
  const { runCli } = await import('./cli/run-cli.ts')
  process.exitCode = await runCli(asked)
}
