import type { Command } from 'commander'

/** One command: known by name and summary, loaded only when it is called. */
export interface CommandEntry {
  readonly name: string
  readonly summary: string
  /** Gives the commander command, with its options, examples and action. */
  readonly load: () => Promise<() => Command>
}

/** Every command, in the order `lichen --help` lists them. */
export const commands: readonly CommandEntry[] = [
  {
    name: 'up',
    summary: 'start a pool with its own database and one local worker',
    load: async () => (await import('./up.ts')).upCommand,
  },
  {
    name: 'pool',
    summary: 'start a pool without a local worker',
    load: async () => (await import('./pool.ts')).poolCommand,
  },
  {
    name: 'worker',
    summary: 'lend this machine to a pool',
    load: async () => (await import('./worker.ts')).workerCommand,
  },
  {
    name: 'invite',
    summary: 'invite a worker',
    load: async () => (await import('./invite.ts')).inviteCommand,
  },
  {
    name: 'workers',
    summary: 'list, approve, renew, revoke and drain workers',
    load: async () => (await import('./workers.ts')).workersCommand,
  },
  {
    name: 'keys',
    summary: 'create, list and revoke API keys',
    load: async () => (await import('./keys.ts')).keysCommand,
  },
  {
    name: 'models',
    summary: 'list what can be asked for',
    load: async () => (await import('./models.ts')).modelsCommand,
  },
  {
    name: 'chat',
    summary: 'talk to a model',
    load: async () => (await import('./chat.ts')).chatCommand,
  },
  {
    name: 'status',
    summary: 'say how the pool is',
    load: async () => (await import('./status.ts')).statusCommand,
  },
  {
    name: 'doctor',
    summary: 'find the common mistakes and say the fix',
    load: async () => (await import('./doctor.ts')).doctorCommand,
  },
  {
    name: 'completion',
    summary: 'print the completion script of your shell',
    load: async () => (await import('./completion.ts')).completionCommand,
  },
  {
    name: 'conformance',
    summary: 'check the parts with your own vectors, as JSON lines',
    load: async () => (await import('./conformance.ts')).conformanceCommand,
  },
]
