import path from 'node:path'
import { expect, test } from 'vitest'
import { createLog, type MetricName, Metrics, metricsTable, poolEvents } from './index.ts'

const row = (name: MetricName) => {
  const { type, labels, help } = metricsTable[name]
  return `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |`
}

/** The page as it must be. After a change of the table: `npx vitest run src/observability -u`. */
const page = `# Metrics

Written from \`src/observability/metrics.ts\`; a test fails when the two differ.

\`GET /metrics\` gives them in Prometheus’ text format. Labels never hold a key, a worker or a model: those are in the log.
Histograms end in \`_bucket\`, \`_sum\` and \`_count\` there. The usual \`process_*\` and \`nodejs_*\` metrics of prom-client come with them.

| name | type | labels | meaning |
|---|---|---|---|
${(Object.keys(metricsTable) as MetricName[]).map(row).join('\n')}
`

test('docs/reference/metrics.md tells every metric as it is', async () => {
  const file = path.join(import.meta.dirname, '../../docs/reference/metrics.md')
  await expect(page).toMatchFileSnapshot(file)
})

test('an event is counted and logged by the same call', async () => {
  const lines: string[] = []
  const to = { write: (line: string) => void lines.push(line) }
  const { log } = createLog({ level: 'debug', pretty: false, color: false, program: 'pool', to })
  const metrics = new Metrics()
  const events = poolEvents(log, metrics, () => {})
  events.connected({ id: 'ab', operator: 'alice', agent: 'lichen/0.1.0', standing: 'pending' })
  events.ended('/v1/models', 200, 12)
  const text = await metrics.text()
  expect(text).toContain('lichen_worker_sessions_total{outcome="opened"} 1')
  expect(text).toContain('lichen_http_requests_total{route="/v1/models",status="200"} 1')
  expect(lines.map((line) => JSON.parse(line).msg)).toEqual(['worker connected', 'request ended'])
})

test('a scraper reads how often and how long, by label', async () => {
  const metrics = new Metrics()
  for (const seconds of [0.001, 0.002, 400])
    metrics.observe('lichen_http_request_seconds', { route: '/v1/models' }, seconds)
  metrics.add('lichen_tokens_total', { direction: 'prompt' }, 5)
  metrics.add('lichen_tokens_total', { direction: 'prompt' }, 7)
  const lines = (await metrics.text()).split('\n').filter((line) => !line.startsWith('#'))
  const of = (name: string) => lines.filter((line) => line.startsWith(name)).map((line) => line.slice(name.length))
  expect(of('lichen_http_request_seconds_bucket')).toHaveLength(17)
  expect(of('lichen_http_request_seconds').slice(0, 2)).toEqual([
    '_bucket{le="0.001",route="/v1/models"} 1',
    '_bucket{le="0.0025",route="/v1/models"} 2',
  ])
  expect(of('lichen_http_request_seconds').slice(-4)).toEqual([
    '_bucket{le="300",route="/v1/models"} 2',
    '_bucket{le="+Inf",route="/v1/models"} 3',
    '_sum{route="/v1/models"} 400.003',
    '_count{route="/v1/models"} 3',
  ])
  expect(of('lichen_tokens_total')).toEqual(['{direction="prompt"} 12'])
  // what has no labels is there from the start
  expect(of('lichen_database_flush_operations_total')).toEqual([' 0'])
  expect(of('lichen_job_wait_seconds_count')).toEqual([' 0'])
})

test('every metric of the table has a name Prometheus takes and a unit at its end', () => {
  for (const [name, { type }] of Object.entries(metricsTable)) {
    expect(name).toMatch(/^lichen_[a-z_]+$/)
    if (type === 'counter') expect(name).toMatch(/_total$/)
    if (type === 'histogram') expect(name).toMatch(/_seconds$/)
  }
})
