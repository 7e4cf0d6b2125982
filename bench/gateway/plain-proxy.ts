// The least a Node gateway can do: node:http in, undici out, bytes piped. Usage: node plain-proxy.ts PORT UPSTREAM_PORT
import http from 'node:http'
import { Pool } from 'undici'

const pool = new Pool(`http://127.0.0.1:${process.argv[3]}`, { connections: 512 })
http
  .createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part) => parts.push(part))
    request.on('end', () => {
      const body = Buffer.concat(parts)
      pool.stream(
        { path: request.url ?? '/', method: 'POST', headers: { 'content-type': 'application/json' }, body },
        ({ statusCode, headers }) => {
          delete headers['transfer-encoding']
          delete headers.connection
          return response.writeHead(statusCode, headers as http.OutgoingHttpHeaders)
        },
        (error) => {
          if (error) response.destroy(error)
        },
      )
    })
  })
  .listen(Number(process.argv[2]), '127.0.0.1', 4_096)
