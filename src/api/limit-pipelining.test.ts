import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { expect, test } from 'vitest'
import { limitPipelining } from './limit-pipelining.ts'

async function serve(max: number) {
  const waiting: http.ServerResponse[] = []
  const server = http.createServer((_request, response) => waiting.push(response)).listen(0, '127.0.0.1')
  limitPipelining(server, max)
  await once(server, 'listening')
  const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1')
  return { server, socket, waiting }
}
const ask = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'

test('a client that sends requests and never waits for an answer is cut off', async () => {
  const { server, socket } = await serve(4)
  socket.on('error', () => {})
  socket.write(ask.repeat(100))
  await once(socket, 'close')
  expect(socket.bytesRead).toBe(0)
  server.close()
})

test('a few requests sent ahead are answered in order', async () => {
  const { server, socket, waiting } = await serve(4)
  socket.write(ask.repeat(4))
  while (waiting.length < 4) await new Promise((resolve) => setTimeout(resolve, 5))
  for (const [i, response] of waiting.entries()) response.end(`answer ${i}`)
  let text = ''
  socket.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  while (!text.includes('answer 3')) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(text.indexOf('answer 0')).toBeLessThan(text.indexOf('answer 3'))
  socket.destroy()
  server.close()
})
