// Runs the tests (arguments are vitest's) and closes with one line: `N passed, N failed`.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { runTool } from './our-node.mjs'

const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-results-'))
const file = path.join(folder, 'results.json')
try {
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`]
  const code = runTool('node_modules/vitest/vitest.mjs', ['run', ...reporters, ...process.argv.slice(2)])
  const { passed, failed } = count(file, code)
  console.log(`${passed} passed, ${failed} failed`)
  process.exitCode = code !== 0 || failed > 0 || passed === 0 ? 1 : 0
} finally {
  rmSync(folder, { recursive: true })
}

/** A file that could not even be loaded, or an error outside every test, counts as one failure. */
function count(results, code) {
  let report
  try {
    report = JSON.parse(readFileSync(results, 'utf8'))
  } catch {
    return { passed: 0, failed: 1 }
  }
  const broken = report.testResults.filter((one) => one.status === 'failed' && !one.assertionResults.some(isFailed))
  const failed = report.numFailedTests + broken.length
  return { passed: report.numPassedTests, failed: code !== 0 && failed === 0 ? 1 : failed }
}

function isFailed(assertion) {
  return assertion.status === 'failed'
}
