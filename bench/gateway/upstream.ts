// An OpenAI-compatible upstream that answers at once with prebuilt bytes. Usage: node upstream.ts PORT
import http from 'node:http'
import { text, tokens } from './answer.ts'

const head = { id: 'chatcmpl-bench', created: 1_770_000_000, model: 'bench-64' }
const json = JSON.stringify({
  ...head,
  object: 'chat.completion',
  choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop', logprobs: null }],
  usage: { prompt_tokens: 42, completion_tokens: 64, total_tokens: 106 },
})
const chunk = (delta: object, finish: string | null) =>
  `data: ${JSON.stringify({ ...head, object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`
const sse = [
  chunk({ role: 'assistant', content: '' }, null),
  ...tokens.map((token) => chunk({ content: token }, null)),
  chunk({}, 'stop'),
  'data: [DONE]\n\n',
]

http
  .createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part) => parts.push(part))
    request.on('end', () => {
      if (!Buffer.concat(parts).includes('"stream":true')) {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(json) })
        return response.end(json)
      }
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
      for (const event of sse) response.write(event)
      return response.end()
    })
  })
  .listen(Number(process.argv[2]), '127.0.0.1', 4_096)
