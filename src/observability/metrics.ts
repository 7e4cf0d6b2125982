import { collectDefaultMetrics, Gauge, type Metric, Registry } from 'prom-client'

interface Row {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly labels: readonly string[]
  readonly help: string
  readonly buckets?: readonly number[]
}

/** Seconds, from a hit in memory to a long answer. */
const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300] as const

/**
 * Every metric of a pool. Labels are few and bounded: no key, worker or model names, which clients could multiply.
 * docs/reference/metrics.md is written from this table, kept by a test.
 */
export const metricsTable = {
  lichen_http_requests_total: {
    type: 'counter',
    labels: ['route', 'status'],
    help: 'HTTP requests that ended, by documented route and status (499: the client left).',
  },
  lichen_http_request_seconds: {
    type: 'histogram',
    labels: ['route'],
    help: 'From the last byte of a request’s head to the last byte of its answer.',
    buckets: seconds,
  },
  lichen_jobs_total: {
    type: 'counter',
    labels: ['kind', 'state'],
    help: 'Jobs that ended, by kind (chat, completion, embedding) and final state.',
  },
  lichen_jobs_refused_total: {
    type: 'counter',
    labels: ['code'],
    help: 'Requests refused before they became a job, by refusal code.',
  },
  lichen_job_seconds: {
    type: 'histogram',
    labels: ['kind'],
    help: 'From acceptance to the end of a job.',
    buckets: seconds,
  },
  lichen_job_wait_seconds: {
    type: 'histogram',
    labels: [],
    help: 'Wait of a run for a worker.',
    buckets: seconds,
  },
  lichen_first_token_seconds: {
    type: 'histogram',
    labels: [],
    help: 'From dispatch to the first piece of an attempt.',
    buckets: seconds,
  },
  lichen_tokens_total: {
    type: 'counter',
    labels: ['direction'],
    help: 'Tokens counted, prompt and completion.',
  },
  lichen_runs_moved_total: {
    type: 'counter',
    labels: ['how'],
    help: 'Runs that went to another worker: retry (nothing was relayed yet) or takeover (mid-stream).',
  },
  lichen_worker_faults_total: {
    type: 'counter',
    labels: ['fault'],
    help: 'Claims and messages of workers that cannot be right.',
  },
  lichen_jobs_waiting: { type: 'gauge', labels: [], help: 'Runs waiting for a worker now.' },
  lichen_workers_connected: { type: 'gauge', labels: ['standing'], help: 'Workers with a session now.' },
  lichen_worker_slots: { type: 'gauge', labels: ['state'], help: 'Slots of approved workers now, busy and free.' },
  lichen_worker_sessions_total: {
    type: 'counter',
    labels: ['outcome'],
    help: 'Worker sessions: opened, ended, contested_refused, contested_replaced.',
  },
  lichen_circuits_total: {
    type: 'counter',
    labels: ['event'],
    help: 'Circuits of workers that opened or closed.',
  },
  lichen_checks_total: {
    type: 'counter',
    labels: ['outcome'],
    help: 'Checks of answers that are over, by outcome.',
  },
  lichen_model_offers_total: {
    type: 'counter',
    labels: ['outcome'],
    help: 'Models offered to idle workers, and what came of them: offered, fetched, refused, withdrawn.',
  },
  lichen_model_bytes_sent_total: { type: 'counter', labels: [], help: 'Bytes of model files sent to workers.' },
  lichen_model_transfers: { type: 'gauge', labels: [], help: 'Model files that are sent to workers now.' },
  lichen_door_refusals_total: {
    type: 'counter',
    labels: ['code'],
    help: 'Worker sockets that did not become a session, by refusal code.',
  },
  lichen_database_flush_seconds: {
    type: 'histogram',
    labels: [],
    help: 'One group commit: a transaction for many operations.',
    buckets: seconds,
  },
  lichen_database_flush_operations_total: { type: 'counter', labels: [], help: 'Operations in group commits.' },
  lichen_database_flush_retries_total: { type: 'counter', labels: [], help: 'Group commits sent again.' },
  lichen_database_flush_failures_total: { type: 'counter', labels: [], help: 'Group commits given up.' },
  lichen_database_restarts_total: {
    type: 'counter',
    labels: [],
    help: 'Ends of the embedded PostgreSQL it was not told to.',
  },
} as const satisfies Readonly<Record<string, Row>>

type Table = typeof metricsTable
export type MetricName = keyof Table
type OfType<T extends Row['type']> = { [K in MetricName]: Table[K]['type'] extends T ? K : never }[MetricName]
type Labels<K extends MetricName> = Partial<Record<Table[K]['labels'][number], string | number>>

type LabelValues = Readonly<Record<string, string | number | undefined>>

/** What was counted under one set of labels. */
interface Cell {
  readonly labels: Readonly<Record<string, string>>
  /** Of a counter its value; of a histogram the sum of what was observed. */
  sum: number
  count: number
  /** Of a histogram: how many values lay in each bucket and in none below it; the last is beyond all. */
  readonly inBucket: number[]
}

/**
 * Counters and histograms of our own, in prom-client's registry: prom-client sorts, joins and hashes the labels of every single value, which
 * for the nine values of a request costs more than everything else that is counted.
 */
class Cells {
  readonly #names: readonly string[]
  readonly #buckets: readonly number[]
  readonly #cells = new Map<string, Cell>()

  constructor(names: readonly string[], buckets: readonly number[]) {
    this.#names = names
    this.#buckets = buckets
    // what has no labels is told before anything was counted
    if (names.length === 0) this.#of({})
  }

  get all(): Iterable<Cell> {
    return this.#cells.values()
  }

  add(labels: LabelValues, amount: number): void {
    this.#of(labels).sum += amount
  }

  observe(labels: LabelValues, value: number): void {
    const cell = this.#of(labels)
    let bucket = 0
    while (value > (this.#buckets[bucket] ?? Number.POSITIVE_INFINITY)) bucket++
    cell.inBucket[bucket] = (cell.inBucket[bucket] ?? 0) + 1
    cell.sum += value
    cell.count += 1
  }

  #of(labels: LabelValues): Cell {
    let key = ''
    for (const name of this.#names) key += `${labels[name]}\n`
    let cell = this.#cells.get(key)
    if (!cell) {
      const given = this.#names.flatMap((name) => (labels[name] === undefined ? [] : [[name, String(labels[name])]]))
      const inBucket = [...this.#buckets, 0].map(() => 0)
      cell = { labels: Object.fromEntries(given), sum: 0, count: 0, inBucket }
      this.#cells.set(key, cell)
    }
    return cell
  }
}

/** As prom-client asks a metric for its values. */
function told(name: string, help: string, type: 'counter' | 'histogram', cells: Cells, buckets: readonly number[]) {
  const values = [...cells.all].flatMap(({ labels, sum, count, inBucket }) => {
    if (type === 'counter') return [{ metricName: name, labels, value: sum }]
    let below = 0
    const counts = [...buckets, '+Inf'].map((le, n) => {
      below += inBucket[n] ?? 0
      return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: below }
    })
    return [
      ...counts,
      { metricName: `${name}_sum`, labels, value: sum },
      { metricName: `${name}_count`, labels, value: count },
    ]
  })
  return { name, help, type, values, aggregator: 'sum' }
}

/** Milliseconds between looks at the delay of the event loop: each look wakes a pool that has nothing to do. */
const loopLookMs = 100

/** The metrics of one pool process. */
export class Metrics {
  readonly #registry = new Registry()
  readonly #gauges = new Map<string, Gauge>()
  readonly #cells = new Map<string, Cells>()

  constructor() {
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: loopLookMs })
    for (const [name, row] of Object.entries<Row>(metricsTable)) {
      const { type, help, labels } = row
      if (type === 'gauge') {
        this.#gauges.set(name, new Gauge({ name, help, labelNames: labels, registers: [this.#registry] }))
        continue
      }
      const buckets = type === 'histogram' ? (row.buckets ?? seconds) : []
      const cells = new Cells(labels, buckets)
      this.#cells.set(name, cells)
      // all that the registry asks of a metric
      const metric = { name, get: async () => told(name, help, type, cells, buckets) } as unknown as Metric
      this.#registry.registerMetric(metric)
    }
  }

  add<K extends OfType<'counter'>>(name: K, labels: Labels<K>, amount = 1): void {
    this.#cells.get(name)?.add(labels, amount)
  }

  set<K extends OfType<'gauge'>>(name: K, labels: Labels<K>, value: number): void {
    this.#gauges.get(name)?.set(labels, value)
  }

  observe<K extends OfType<'histogram'>>(name: K, labels: Labels<K>, value: number): void {
    this.#cells.get(name)?.observe(labels, value)
  }

  /** Prometheus' text format, version 0.0.4. */
  text(): Promise<string> {
    return this.#registry.metrics()
  }
}
