// What can be said about the code without running it: [what, tool, arguments].
export const staticChecks = [
  ['format and lint', 'node_modules/@biomejs/biome/bin/biome', ['check', '--error-on-warnings', '.']],
  ['types', 'node_modules/typescript/bin/tsc', ['-p', 'tsconfig.json']],
  ['unused code', 'node_modules/knip/bin/knip.js', []],
]
