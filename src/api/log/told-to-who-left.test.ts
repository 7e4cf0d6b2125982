import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '#testkit'
import { ToldEpochs } from '#verification'
import { ApiDouble } from '../../testkit/api-double.ts'
import { tellHour, toldHour } from '../../testkit/told-hour.ts'
import { verificationLimits } from '../../verification/limits.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
  await tellHour(db)
})
afterAll(() => db.drop())

test('strangers who leave while an hour is looked up keep nobody from reading it', async () => {
  await using api = await ApiDouble.open({ toldEpochs: new ToldEpochs(db.sql) })
  const askThenWait = (): Socket => {
    const socket = connect(api.port, '127.0.0.1')
    socket.write(`GET /v1/log/epochs/${toldHour} HTTP/1.1\r\nhost: localhost\r\n\r\n`)
    return socket
  }
  const connections = () =>
    new Promise<number>((resolve) => api.app.server.getConnections((_error, count) => resolve(count)))
  const slow = await db.database.connect()
  await slow.transaction(async (tx) => {
    await tx`lock table epochs in access exclusive mode`
    const strangers = Array.from({ length: verificationLimits.disclosuresAtOnceMax }, askThenWait)
    const waiting = async () => {
      const [row] = await tx<{ count: number }[]>`
        select count(*)::int as count from pg_locks where relation = 'epochs'::regclass and not granted`
      return row?.count
    }
    await expect.poll(waiting).toBe(strangers.length)
    for (const socket of strangers) socket.destroy()
    await expect.poll(connections).toBe(0)
  })
  await slow.close()
  const read = async () => (await fetch(`${api.url}/v1/log/epochs/${toldHour}`)).status
  await expect.poll(read).toBe(200)
})
