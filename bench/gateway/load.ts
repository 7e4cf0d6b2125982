// Load generator over raw sockets. Reads one JSON job per line on stdin, prints one JSON result per line.
// Job: { port, path, headers, stream, connections, seconds } closed loop, or { …, perSecond } open loop.
import { createHash } from 'node:crypto'
import net from 'node:net'
import readline from 'node:readline'
import { requestBody, text, tokens } from './answer.ts'

interface LoadJob {
  port: number
  headers: Record<string, string>
  stream: boolean
  connections: number
  seconds: number
  perSecond?: number
}

/** Reads one HTTP/1.1 response after another from a socket. */
class Responses {
  #buffer: Buffer = Buffer.alloc(0)
  readonly #done: (status: number, body: Buffer) => void
  constructor(done: (status: number, body: Buffer) => void) {
    this.#done = done
  }

  push(data: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data])
    for (;;) {
      const headEnd = this.#buffer.indexOf('\r\n\r\n')
      if (headEnd < 0) return
      const head = this.#buffer.toString('latin1', 0, headEnd)
      const status = Number(head.slice(9, 12))
      const length = /content-length: (\d+)/i.exec(head)
      const bodyAt = headEnd + 4
      if (length) {
        const end = bodyAt + Number(length[1])
        if (this.#buffer.length < end) return
        const body = this.#buffer.subarray(bodyAt, end)
        this.#buffer = this.#buffer.subarray(end)
        this.#done(status, body)
      } else {
        // The terminating chunk can only be the last bytes of a response: nothing is pipelined.
        if (!this.#buffer.subarray(-5).equals(Buffer.from('0\r\n\r\n'))) return
        const body = this.#buffer.subarray(bodyAt)
        this.#buffer = Buffer.alloc(0)
        this.#done(status, body)
      }
    }
  }
}

/** Removes HTTP chunk framing. */
function unchunk(body: Buffer): string {
  let out = ''
  for (let at = 0; ; ) {
    const eol = body.indexOf('\r\n', at)
    const size = Number.parseInt(body.toString('latin1', at, eol), 16)
    if (!size) return out
    out += body.toString('utf8', eol + 2, eol + 2 + size)
    at = eol + 2 + size + 2
  }
}

/** What the client got, for the equal-work check. */
function workOf(stream: boolean, body: Buffer): { tokens: number; events: number; digest: string } {
  const digest = (value: string) => createHash('sha256').update(value).digest('hex').slice(0, 16)
  if (!stream) {
    const answer = JSON.parse(body.toString('utf8'))
    return { tokens: answer.usage.completion_tokens, events: 1, digest: digest(answer.choices[0].message.content) }
  }
  const contents = unchunk(body)
    .split('\n')
    .filter((line) => line.startsWith('data: {'))
    .map((line) => JSON.parse(line.slice(6)).choices?.[0]?.delta?.content)
    .filter(Boolean)
  return {
    tokens: contents.join('').trim().split(' ').length,
    events: contents.length,
    digest: digest(contents.join('')),
  }
}

const expected = {
  tokens: tokens.length,
  digest: createHash('sha256').update(text).digest('hex').slice(0, 16),
}

async function run(job: LoadJob) {
  const body = requestBody(job.stream)
  const headers = Object.entries({ 'content-type': 'application/json', ...job.headers })
  const head = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  const request = Buffer.from(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n${head}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
  const latencies: number[] = []
  let bad = 0
  let unequal = 0
  let events = 0
  let looked = 0
  let answered = 0
  let backlog = 0
  const starts: number[] = []
  const idle: (() => void)[] = []
  const until = performance.now() + job.seconds * 1_000
  const sockets: net.Socket[] = []
  await new Promise<void>((finished) => {
    let open = job.connections
    const close = (socket: net.Socket) => {
      socket.destroy()
      if (--open === 0) finished()
    }
    for (let i = 0; i < job.connections; i++) {
      const socket = net.connect(job.port, '127.0.0.1')
      sockets.push(socket)
      socket.setNoDelay(true)
      let sentAt = 0
      const send = (dueAt?: number) => {
        sentAt = dueAt ?? performance.now()
        socket.write(request)
      }
      const next = () => {
        if (performance.now() >= until) return close(socket)
        if (!job.perSecond) return send()
        const due = starts.shift()
        if (due === undefined) idle.push(() => send(starts.shift()))
        else send(due)
      }
      const responses = new Responses((status, bytes) => {
        latencies.push(performance.now() - sentAt)
        answered++
        if (status !== 200) bad++
        else if (answered % 64 === 1) {
          const work = workOf(job.stream, bytes)
          events += work.events
          looked++
          if (work.tokens !== expected.tokens || work.digest !== expected.digest) unequal++
        }
        next()
      })
      socket.on('data', (data) => responses.push(data))
      socket.on('connect', next)
      socket.on('error', () => bad++)
    }
    if (job.perSecond) {
      const began = performance.now()
      let issued = 0
      const tick = setInterval(() => {
        const now = performance.now()
        while (issued < ((now - began) / 1_000) * (job.perSecond ?? 0)) {
          starts.push(began + (issued++ * 1_000) / (job.perSecond ?? 1))
          const free = idle.pop()
          if (free) free()
          else backlog++
        }
        if (now >= until) {
          clearInterval(tick)
          setTimeout(() => {
            for (const socket of sockets) socket.destroy()
            finished()
          }, 1_000)
        }
      }, 1)
    }
  })
  latencies.sort((a, b) => a - b)
  const at = (q: number) => latencies[Math.min(latencies.length - 1, Math.floor(q * latencies.length))] ?? Number.NaN
  return { requests: answered, bad, unequal, backlog, events: events / looked, p50: at(0.5), p99: at(0.99) }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await run(JSON.parse(line))))
}
