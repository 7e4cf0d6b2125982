import path from 'node:path'
import { expect, test } from 'vitest'
import { defaultTextOf, packageRoot, settingNames, settingsTable } from './index.ts'
import { fileKeyOf, flagOf, variableOf } from './settings-table.ts'

const whose = { all: 'every command', pool: '`up`, `pool`', worker: '`up`, `worker join`', client: 'other commands' }

function row(name: (typeof settingNames)[number]): string {
  const setting = settingsTable[name]
  const flag = 'secret' in setting ? '—' : `\`${flagOf(name)}\``
  const key = 'notInFile' in setting ? '—' : `\`${fileKeyOf(name)}\``
  const fallback = defaultTextOf(name)
  const shown = fallback === undefined ? '' : fallback.includes(' ') ? fallback : `\`${fallback}\``
  const kind = setting.kind.placeholder?.replaceAll('|', ', ') ?? 'true, false'
  const named = setting.programs.flatMap((program) => whose[program].split(', '))
  const programs = [...new Set(named)].join(', ')
  return `| ${key} | ${flag} | \`${variableOf(name)}\` | ${kind} | ${shown} | ${setting.doc} Read by ${programs}. |`
}

/** The page as it must be. After a change of the table: `npx vitest run src/config -u`. */
const page = `# Settings

Written from \`src/config/settings-table.ts\`; a test fails when the two differ.

What wins: a **flag** over a **variable** over **\`lichen.toml\`** over the **default**. \`lichen.toml\` is looked for in the data
folder, or where \`--config\` says. Relative paths start in the folder a command is typed in; those of \`lichen.toml\` start beside it.

- Every variable may end in \`_FILE\` instead: its value is then read from that file, without the line end at its end.
- Secrets have no flag: argument lists can be read by everybody on a machine.
- Several values: repeat the flag, separate by commas in a variable, write an array in \`lichen.toml\`.
- A time is a number and a unit: \`90s\`, \`15m\`, \`12h\`, \`30d\`.
- A size likewise: \`500MiB\`, \`20GiB\`.
- A name that is no setting, a value of the wrong kind, and settings that contradict each other are refused with
  [\`config_invalid\`](errors.md#config_invalid) and the fix. Variables that begin with \`LICHEN_TEST_\` are for the tests.
- \`DATABASE_URL\` is read where \`LICHEN_DATABASE_URL\` is not set. \`NO_COLOR\` is honoured everywhere.

| \`lichen.toml\` | flag | variable | kind | default | meaning |
|---|---|---|---|---|---|
${settingNames.map(row).join('\n')}

An example:

\`\`\`toml
host = "0.0.0.0"
tls_cert = "pool.pem"
tls_key = "pool.key"
public_url = "https://pool.example:5424"
model = ["/srv/models/qwen2.5-7b-instruct-q4_k_m.gguf"]
request_timeout = "5m"
\`\`\`
`

test('docs/reference/settings.md tells every setting as it is', async () => {
  await expect(page).toMatchFileSnapshot(path.join(packageRoot, 'docs/reference/settings.md'))
})
