import { sha256 } from '#crypto'
import type { PoolKeys } from '#log'
import { decodeSigned, SignatureChecker } from '#protocol'
import type { Sql } from '#storage'
import { ledgerLimits } from './limits.ts'
import { scanTransfers } from './read-transfers.ts'
import { transferKinds } from './transfer-kinds.ts'
import type { TransferRow } from './transfer-leaf.ts'

/** Whose signatures count, as other rooms know it. */
export interface AuthorisationFacts {
  /** The pool's. */
  readonly keys: PoolKeys
  /** Hex public keys of every admin there ever was. */
  readonly adminKeys: ReadonlySet<string>
  /** Hex public keys this account ever paid with. */
  readonly payerKeys: (account: string) => ReadonlySet<string>
}

/**
 * Every grant and payment against the signed bytes that ask for it, and the keys of accounts against whose they are. The first that is wrong,
 * in a sentence. Charges are authorised by their orders, which the jobs' room audits.
 */
export async function auditAuthorisations(sql: Sql, facts: AuthorisationFacts): Promise<string | undefined> {
  const checker = new SignatureChecker()
  for (let after: string | null = null; ; ) {
    const page = await scanTransfers(sql, after, ledgerLimits.scanRowsMax, 'direct')
    for (const row of page) {
      const wrong = judgeAuthorisation(row, facts, checker)
      if (wrong !== undefined) return `Transfer ${row.id} ${wrong}.`
    }
    if (page.length < ledgerLimits.scanRowsMax) return undefined
    after = page.at(-1)?.id ?? after
  }
}

/** As the end of a sentence; undefined when whoever had to sign did, and signed exactly this. */
export function judgeAuthorisation(
  { id, kind, from, to: legs, amount, authorisation }: TransferRow,
  { keys, adminKeys, payerKeys }: AuthorisationFacts,
  checker: SignatureChecker,
): string | undefined {
  const { message: type } = transferKinds[kind]
  if (type === 'order/1') return 'is a charge in one step'
  const decoded = decodeSigned(authorisation ?? Buffer.alloc(0), type)
  if (!decoded.ok) return `has no readable authorisation: ${decoded.problem}`
  const { message, hash, signature } = decoded.signed
  const payer = 'from' in message ? message.from : 'issuance'
  const [leg] = legs
  const names = message.id === id && message.amount === amount && message.to === leg?.account && payer === from
  const same = names && (!('kind' in message) || message.kind === kind)
  const poolKey = keys.ofPool(message.pool)
  if (!same || !poolKey) return 'says something else than what was signed'
  const signer = signature.key.toString('hex')
  const allowed =
    kind === 'grant' ? adminKeys : kind === 'payment' ? payerKeys(from) : new Set([poolKey.toString('hex')])
  if (!allowed.has(signer)) return `is a ${kind} that somebody else signed`
  return checker.verify(signature, hash) ? undefined : 'carries a signature that does not verify'
}

interface AccountKey {
  readonly name: string
  readonly kind: string
  readonly key: Buffer
}

/** The key of each account that has one: the pool's, the worker's or peer's own, one the user pays with. */
export async function auditAccountKeys(sql: Sql, facts: AuthorisationFacts): Promise<string | undefined> {
  for (let after = ''; ; ) {
    const page = await sql<AccountKey[]>`
      select name, kind, key from accounts where key is not null and name > ${after} order by name limit ${ledgerLimits.scanRowsMax}`
    const wrong = page.find((account) => !isOwn(account, facts))
    if (wrong) return `Account ${wrong.name} shows a key that is not its owner's.`
    if (page.length < ledgerLimits.scanRowsMax) return undefined
    after = page.at(-1)?.name ?? after
  }
}

function isOwn({ name, kind, key }: AccountKey, { keys, payerKeys }: AuthorisationFacts): boolean {
  if (kind === 'worker' || kind === 'held' || kind === 'peer') return name.endsWith(`:${sha256(key).toString('hex')}`)
  if (kind === 'user' || kind === 'stake') return payerKeys(name).has(key.toString('hex'))
  return keys.has(key)
}
