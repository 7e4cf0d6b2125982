// Everything a change must pass, cheapest first; stops at the first that fails.
import { runTool } from './our-node.mjs'
import { staticChecks } from './static-checks.mjs'

const steps = [...staticChecks, ['the tests', 'tools/test.mjs', ['--exclude', '**/static-checks.test.ts']]]

for (const [what, script, args] of steps) {
  console.error(`Checking ${what}…`)
  if (runTool(script, args) !== 0) {
    console.error(`Stopped: ${what} did not pass. See above, repair it, then run \`npm run check\` again.`)
    process.exit(1)
  }
}
