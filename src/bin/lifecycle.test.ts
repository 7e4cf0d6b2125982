import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { text } from 'node:stream/consumers'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { childEnvironment, packageRoot } from '#config'
import { type Invite, parseInvite } from '#identity'
import { demoModelPath, eventually, isAlive, Neighbourhood, processTree } from '#testkit'

const towns: Neighbourhood[] = []
function newTown(): Neighbourhood {
  const town = new Neighbourhood()
  towns.push(town)
  return town
}
/** One data folder for all tests that need none of their own: a later start takes half the time of a first one. */
const settled = new Neighbourhood()

afterEach(async () => {
  await settled.stop()
  for (const town of towns.splice(0)) await town[Symbol.asyncDispose]()
})
afterAll(() => settled[Symbol.asyncDispose]())

const sum = { model: 'lichen-demo', messages: [{ role: 'user' as const, content: '3+4=?' }], temperature: 0 }
const allGone = (pids: readonly number[]) =>
  eventually('all of them to end', () => pids.every((pid) => !isAlive(pid)), 10_000)

/** A small inference server with one model. */
async function upstreamWith(
  model: string,
  answer: (body: { messages: unknown[]; stream?: boolean }, response: http.ServerResponse) => void,
): Promise<AsyncDisposable & { url: string }> {
  const server = http.createServer(async (request, response) => {
    if (request.url?.endsWith('/chat/completions')) return answer(JSON.parse(await text(request)), response)
    if (request.method === 'POST') return response.writeHead(404).end()
    response.end(JSON.stringify({ object: 'list', data: [{ id: model, object: 'model' }] }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  return {
    url: `http://127.0.0.1:${port}/v1`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** Takes a question and never answers. */
async function endlessUpstream() {
  const asked = Promise.withResolvers<void>()
  const upstream = await upstreamWith('endless', () => asked.resolve())
  return { ...upstream, asked: asked.promise }
}

/** Answers with the number of messages it was sent. */
function countingUpstream() {
  return upstreamWith('counting', ({ messages }, response) => {
    const event = (delta: object, finish: string | null) =>
      `data: ${JSON.stringify({ object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`
    response.setHeader('content-type', 'text/event-stream')
    response.write(event({ role: 'assistant', content: `${messages.length} ` }, null))
    response.end(`${event({ content: 'messages' }, null)}${event({}, 'stop')}data: [DONE]\n\n`)
  })
}

describe('a first start', () => {
  test('from an empty folder answers the official client, and stdout holds one line', async () => {
    const town = newTown()
    mkdirSync(town.dataDir, { mode: 0o700 })
    const program = await town.start('up')
    const ready = JSON.parse(program.stdout[0] ?? '')
    expect(ready).toMatchObject({ ready: true, pid: program.pid, pool_id: expect.stringMatching(/^[0-9a-f]{64}$/) })
    const answer = await town.client().chat.completions.create(sum)
    expect(answer.choices[0]?.message.content).toBe('7')
    expect((await fetch(`${town.url}/readyz`)).status).toBe(200)
    expect(program.stdout).toHaveLength(1)
    expect(program.stderr).toContain('Making the database (first start)…')
    expect(program.stderr).toContain('Starting PostgreSQL…')
  })

  test('leaves nothing in the data folder that others may read', async () => {
    const town = settled
    await town.start('up')
    expect(statSync(town.dataDir).mode & 0o777).toBe(0o700)
    for (const name of ['owner.key', 'pool.key', 'session.key', 'first-api-key', 'pool.json']) {
      expect(statSync(path.join(town.dataDir, name)).mode & 0o777, name).toBe(0o600)
    }
  })

  test('on a port that is taken is refused with a sentence and makes nothing', async () => {
    const server = net.createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as net.AddressInfo
    const town = newTown()
    const program = town.run(['up', '--json', '--port', String(port), '--data', town.dataDir])
    expect(await program.ended).toBe(1)
    expect(JSON.parse(program.stderr).error).toMatchObject({ code: 'port_in_use' })
    expect(existsSync(town.dataDir)).toBe(false)
    server.close()
  })

  test('with a model that is not there, or is none, says which and makes nothing', async () => {
    const town = newTown()
    const text = path.join(town.folder, 'notes.gguf')
    writeFileSync(text, 'not a model')
    for (const model of ['/nowhere.gguf', text]) {
      const program = town.run(['up', '--json', '--port', '0', '--data', town.dataDir, '--model', model])
      expect(await program.ended).toBe(1)
      expect(JSON.parse(program.stderr).error).toMatchObject({
        code: 'model_unreadable',
        message: expect.stringContaining(model),
      })
      expect(existsSync(town.dataDir)).toBe(false)
    }
  })

  test('with a model that ends in the middle says so, exit 1, and leaves nothing running', async () => {
    const town = newTown()
    const broken = path.join(town.folder, 'broken.gguf')
    writeFileSync(broken, readFileSync(demoModelPath).subarray(0, 4_096))
    const program = town.run(['up', '--json', '--port', '0', '--data', town.dataDir, '--model', broken])
    await eventually('the pool to start its worker', () => program.stderr.includes('Starting the local worker'))
    const everyone = processTree(program.pid)
    expect(await program.ended).toBe(1)
    expect(program.stderr).toContain('model_unreadable')
    expect(program.stdout).toEqual([])
    await allGone(everyone)
  })
})

describe('a later start', () => {
  test('hands out the same key, and another one when that was revoked', async () => {
    const town = newTown()
    const first = await town.start('up')
    const key = town.apiKey
    const keys = await town.admin<{ data: { id: string }[] }>('GET', '/keys')
    await first.stop()
    const second = await town.start('up')
    expect(town.apiKey).toBe(key)
    await town.admin('DELETE', `/keys/${keys.data[0]?.id}`)
    await second.stop()
    await town.start('up')
    expect(town.apiKey).not.toBe(key)
    const answer = await town.client().chat.completions.create(sum)
    expect(answer.choices[0]?.message.content).toBe('7')
  })

  test('after kill -9 of everything takes the folder over', async () => {
    const town = settled
    const program = await town.start('up')
    const everyone = processTree(program.pid)
    await program.crash()
    await allGone(everyone)
    await town.start('up')
    const answer = await town.client().chat.completions.create(sum)
    expect(answer.choices[0]?.message.content).toBe('7')
  })

  test('while the first still runs is refused and leaves it alone', async () => {
    const town = settled
    await town.start('up')
    const second = town.run(['up', '--json', '--port', '0', '--data', town.dataDir])
    expect(await second.ended).toBe(1)
    expect(JSON.parse(second.stderr).error.code).toBe('data_in_use')
    expect((await fetch(`${town.url}/readyz`)).status).toBe(200)
  })

  test('on the folder and the port of one that runs is told of the folder, and who uses it', async () => {
    const town = settled
    const first = await town.start('up')
    const second = town.run(['up', '--json', '--port', new URL(town.url).port, '--data', town.dataDir])
    expect(await second.ended).toBe(1)
    const { code, message } = JSON.parse(second.stderr).error
    expect([code, message]).toEqual(['data_in_use', `Process ${first.pid} already runs a pool on ${town.dataDir}.`])
  })
})

describe('the end', () => {
  test('SIGKILL of the pool alone takes database, worker and engine with it', async () => {
    const town = settled
    const program = await town.start('up')
    const everyone = processTree(program.pid)
    expect(everyone.length).toBeGreaterThan(4)
    program.signal('SIGKILL')
    await allGone(everyone)
  })

  test('SIGTERM lets the answer under way finish, and refuses new ones', async () => {
    const town = settled
    const program = await town.start('up')
    const long = {
      ...sum,
      messages: [{ role: 'user' as const, content: 'tell me about lichen' }],
      stream: true as const,
    }
    const stream = await town.client().chat.completions.create(long)
    const everyone = processTree(program.pid)
    let said = ''
    for await (const chunk of stream) {
      const piece = chunk.choices[0]?.delta.content ?? ''
      // Once: a second signal would end it at once.
      if (said === '' && piece !== '') program.signal('SIGTERM')
      said += piece
    }
    expect(said.length).toBeGreaterThan(60)
    expect(await program.ended).toBe(0)
    await allGone(everyone)
    expect(existsSync(path.join(town.dataDir, 'pool.json'))).toBe(false)
  })

  test('an answer that does not end is waited for no longer than the operator allows', async () => {
    await using upstream = await endlessUpstream()
    const town = settled
    const program = await town.start('up', ['--upstream', upstream.url, '--shutdown-timeout', '1s'])
    const answer = town.client().chat.completions.create({ ...sum, model: 'endless' })
    await upstream.asked
    program.signal('SIGTERM')
    await expect(answer).rejects.toMatchObject({ status: 503, code: 'shutting_down' })
    expect(await program.ended).toBe(0)
  })

  test('a second signal does not wait at all', async () => {
    await using upstream = await endlessUpstream()
    const town = settled
    const program = await town.start('up', ['--upstream', upstream.url, '--shutdown-timeout', '10m'])
    const everyone = processTree(program.pid)
    const answer = town.client().chat.completions.create({ ...sum, model: 'endless' })
    answer.catch(() => {})
    await upstream.asked
    program.signal('SIGTERM')
    await eventually('it to stop', () => program.stderr.includes('stopping'))
    const ready = await fetch(`${town.url}/readyz`)
    expect([ready.status, await ready.json()]).toEqual([503, { ready: false, reason: 'The pool is stopping.' }])
    program.signal('SIGTERM')
    await program.ended
    await allGone(everyone)
  })

  test('SIGTERM while it starts leaves nothing running', async () => {
    const town = newTown()
    const program = town.run(['up', '--json', '--port', '0', '--data', town.dataDir])
    await eventually('PostgreSQL to start', () => program.stderr.includes('Starting PostgreSQL'))
    const everyone = processTree(program.pid)
    program.signal('SIGTERM')
    expect(await program.ended).toBe(0)
    expect(program.stdout).toEqual([])
    await allGone(everyone)
  })
})

describe('a worker’s folder', () => {
  test('is used by one worker: a second is refused and told whose it is, and has it when the first is gone', async () => {
    const town = settled
    await town.start('up')
    const { program, dataDir } = await town.join('ada')
    const again = ['worker', 'join', '--json', '--data', dataDir]
    const second = town.run(again)
    expect(await second.ended).toBe(1)
    expect(JSON.parse(second.stderr.trim().split('\n').at(-1) ?? '').error).toMatchObject({
      code: 'data_in_use',
      message: `Process ${program.pid} already runs a worker on ${path.join(dataDir, 'worker')}.`,
      fix: expect.stringContaining('--data'),
    })
    program.signal('SIGTERM')
    const third = town.run(again)
    await program.ended
    expect(await third.firstLine()).toMatchObject({ state: 'ready' })
  })
})

describe('the local worker', () => {
  test('that was killed is started again and serves', async () => {
    const town = settled
    const program = await town.start('up')
    const worker = processTree(program.pid).find((pid) =>
      readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('local-worker'),
    )
    process.kill(worker ?? 0, 'SIGKILL')
    const answer = await eventually('an answer', () =>
      town
        .client()
        .chat.completions.create(sum)
        .catch(() => undefined),
    )
    expect(answer.choices[0]?.message.content).toBe('7')
  })

  test('that was revoked stays away, also after a new start, until it is renewed', async () => {
    const town = newTown()
    const first = await town.start('up')
    const [worker] = await town.workers()
    const isHere = async () => (await town.workers())[0]?.connected
    await town.cli('workers', 'revoke', String(worker?.id))
    await eventually('its session to end', async () => !(await isHere()), 3_000)
    await first.stop()
    const second = await town.start('up')
    expect(JSON.parse(second.stdout[0] ?? '')).toMatchObject({ ready: false })
    expect(second.stderr).toContain('worker_revoked')
    await town.cli('workers', 'renew', String(worker?.id))
    await eventually('it to be back', isHere)
  })
})

describe('lichen chat', () => {
  test('streams the answer, and sends what was said before with the next question', async () => {
    await using upstream = await countingUpstream()
    const town = settled
    await town.start('up', ['--upstream', upstream.url])
    const args = ['chat', '--system', 'be brief', '--data', town.dataDir]
    const chat = spawn(path.join(packageRoot, 'bin/lichen'), args, { env: childEnvironment() })
    chat.stdin.end('hello\nand now?\n/reset\nhello\n')
    expect(await text(chat.stdout)).toBe('2 messages\n4 messages\n2 messages\n')
    const whole = await town.cli('chat', '--json', 'hello')
    expect(whole.json).toMatchObject({ object: 'chat.completion', choices: [{ message: { content: '1 messages' } }] })
  })

  test('tells what the pool refused, exit 1', async () => {
    const town = settled
    await town.start('up')
    const { code, err } = await town.cli('chat', '--model', 'gpt-9', 'hello')
    expect(code).toBe(1)
    expect(err).toContain('gpt-9')
  })
})

describe('with a certificate of its own', () => {
  test('a pool serves HTTPS, its commands trust exactly that certificate, and its own worker needs none', async () => {
    const town = settled
    const [cert, key] = [path.join(town.folder, 'pool.pem'), path.join(town.folder, 'pool.key')]
    const request = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
    ]
    execFileSync('openssl', [...request, '-subj', '/CN=pool.example', '-keyout', key, '-out', cert], {
      stdio: 'ignore',
    })
    await town.start('up', ['--host', '0.0.0.0', '--tls-cert', cert, '--tls-key', key])
    expect(town.url).toMatch(/^https:\/\/127\.0\.0\.1:/)
    expect(await town.cli('chat', '3+4=?')).toMatchObject({ code: 0, out: '7\n' })
    expect(await town.cli('status', '--url', town.url)).toMatchObject({
      code: 3,
      err: expect.stringContaining('SELF_SIGNED'),
    })
    const invite = (await town.cli('invite', '--operator', 'alice', '--json')).json as { invite: string }
    const { invite: parsed } = parseInvite(invite.invite) as { invite: Invite }
    expect(parsed.url).toBe(`https://${os.hostname()}:${new URL(town.url).port}`)
  })
})

describe('npm start', () => {
  /** In a process group of its own, as a terminal starts it. */
  function npmStart(town: Neighbourhood): { npm: ChildProcess; lines: string[] } {
    const args = ['start', '--', '--json', '--port', '0', '--data', town.dataDir]
    const npm = spawn('npm', args, {
      cwd: packageRoot,
      detached: true,
      env: childEnvironment(),
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const lines: string[] = []
    if (npm.stdout) readline.createInterface({ input: npm.stdout }).on('line', (line) => lines.push(line))
    return { npm, lines }
  }

  test.each([
    ['Ctrl-C (SIGINT to all of them)', 'SIGINT', -1],
    ['SIGTERM to npm', 'SIGTERM', 1],
    ['SIGKILL to npm', 'SIGKILL', 1],
  ] as const)('prints one line, and %s leaves nothing running', async (_how, signal, to) => {
    const { npm, lines } = npmStart(settled)
    await eventually('the pool to be ready', () => lines.length > 0, 90_000)
    const everyone = processTree(npm.pid ?? 0)
    process.kill(to * (npm.pid ?? 0), signal)
    await allGone(everyone)
    expect(lines).toHaveLength(1)
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ ready: true, url: expect.stringContaining('http://127.0.0.1:') })
  })
})
