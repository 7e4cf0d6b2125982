import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { eventually, lichenBin, processTree } from '#testkit'

/**
 * A network of our own: loopback, and one interface that leads nowhere and counts what is sent to it. The resolver is
 * beyond that interface too, so a name looked up is a packet counted.
 */
const inOwnNetwork = (command: string) => [
  '--user',
  '--map-root-user',
  '--net',
  '--mount',
  'sh',
  '-c',
  `set -e
   ip link set lo up
   ip link add nowhere type veth peer name void
   sysctl -qw net.ipv6.conf.nowhere.disable_ipv6=1 net.ipv6.conf.void.disable_ipv6=1
   ip addr add 192.0.2.2/24 dev nowhere
   ip link set nowhere up arp off
   ip link set void up
   ip route add default via 192.0.2.1
   mount --bind "$RESOLV" /etc/resolv.conf
   ${command}`,
]
const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-silence-'))
const env = { ...process.env, RESOLV: path.join(folder, 'resolv.conf'), NO_COLOR: '1' }
writeFileSync(env.RESOLV, 'nameserver 192.0.2.53\n')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const possible = spawnSync('unshare', inOwnNetwork('true'), { env }).status === 0

test('after installation pool and worker contact no address that was not configured', async ({ skip }) => {
  if (!possible) skip('this machine gives no network namespaces, or iproute2 is not installed')
  const counter = path.join(folder, 'sent')
  const script = `
    packets() { ip -s link show nowhere | awk '/TX:/{getline; print $2}'; }
    packets > "${counter}.before"
    "${lichenBin}" up --json --port 5424 --data "${folder}/pool" > "${folder}/ready" 2> "${folder}/log" &
    pid=$!
    for i in $(seq 600); do [ -s "${folder}/ready" ] && break; sleep 0.1; done
    "${lichenBin}" chat --data "${folder}/pool" "3+4=?" > "${folder}/answer" 2>&1 || true
    sleep 6
    packets > "${counter}"
    kill -TERM $pid; wait $pid || true
    # The counter counts: one look-up that must show.
    getent hosts lichen.invalid >/dev/null 2>&1 &
    sleep 1; packets > "${counter}.control"`
  const child = spawn('unshare', inOwnNetwork(script), { env, stdio: 'ignore' })
  await eventually('the run in its own network', () => child.exitCode !== null, 110_000).catch((error) => {
    for (const pid of processTree(child.pid ?? 0)) process.kill(pid, 'SIGKILL')
    throw error
  })
  const read = (name: string) => spawnSync('cat', [path.join(folder, name)], { encoding: 'utf8' }).stdout.trim()
  expect(read('answer')).toContain('7')
  expect(read('sent')).toBe(read('sent.before'))
  expect(Number(read('sent.control'))).toBeGreaterThan(Number(read('sent')))
}, 120_000)
