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
    summary: 'list, approve, renew, revoke, drain, reset, block and rotate workers',
    load: async () => (await import('./workers.ts')).workersCommand,
  },
  {
    name: 'operators',
    summary: 'list those who lend workers, lift a block',
    load: async () => (await import('./operators.ts')).operatorsCommand,
  },
  {
    name: 'events',
    summary: 'say who came and went, and whose circuit opened',
    load: async () => (await import('./events.ts')).eventsCommand,
  },
  {
    name: 'keys',
    summary: 'create, list, limit and revoke API keys',
    load: async () => (await import('./keys.ts')).keysCommand,
  },
  {
    name: 'users',
    summary: 'create, list and disable users, and say what they may do',
    load: async () => (await import('./users.ts')).usersCommand,
  },
  {
    name: 'admin-key',
    summary: 'make, add, list and revoke the keys that sign grants',
    load: async () => (await import('./admin-key.ts')).adminKeyCommand,
  },
  {
    name: 'grant',
    summary: 'credit a user, signed with an admin key on this machine',
    load: async () => (await import('./grant.ts')).grantCommand,
  },
  {
    name: 'pay',
    summary: 'pay another user, signed with your payer key',
    load: async () => (await import('./pay.ts')).payCommand,
  },
  {
    name: 'prices',
    summary: 'list and set what tokens cost',
    load: async () => (await import('./prices.ts')).pricesCommand,
  },
  {
    name: 'ledger',
    summary: 'balances, histories, holds, statements and exports of credits',
    load: async () => (await import('./ledger.ts')).ledgerCommand,
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
    name: 'verify',
    summary: 'check a receipt, without asking anybody',
    load: async () => (await import('./verify.ts')).verifyCommand,
  },
  {
    name: 'proxy',
    summary: 'sign orders with your own key for any program on this machine',
    load: async () => (await import('./proxy.ts')).proxyCommand,
  },
  {
    name: 'audit',
    summary: 'recompute log, ledger, orders and receipts, and say what was changed',
    load: async () => (await import('./audit.ts')).auditCommand,
  },
  {
    name: 'lab',
    summary: 'let simulated cheaters loose on the rules, and compare with theory',
    load: async () => (await import('./lab.ts')).labCommand,
  },
  {
    name: 'backup',
    summary: 'write everything the pool has on record into one file, while it runs',
    load: async () => (await import('./backup.ts')).backupCommand,
  },
  {
    name: 'restore',
    summary: 'fill an empty database from a backup, and check it',
    load: async () => (await import('./restore.ts')).restoreCommand,
  },
  {
    name: 'fed',
    summary: 'meet other pools, say what they may, and see how they are',
    load: async () => (await import('./fed.ts')).fedCommand,
  },
  {
    name: 'rotate',
    summary: 'replace a key: of the pool, its sessions, owner, users, admins, payers, workers',
    load: async () => (await import('./rotate.ts')).rotateCommand,
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
