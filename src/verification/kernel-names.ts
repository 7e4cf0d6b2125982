import type { Runtime } from '#runtime'
import { type Sql, texts } from '#storage'
import { verificationLimits } from './limits.ts'

/** A name, and what proves that a worker belongs to it: of this text its logits have this hash. */
export interface NamedClass {
  readonly kernel: string
  readonly text: string
  /** 64 hex digits. */
  readonly hash: string
}

/**
 * Names of kernel classes, shared by all processes of a pool and kept across its restarts: calibrations, answers and replays name classes, and a
 * class that came back under another name would be a stranger. A name is bound to one text and one hash for good, so that whoever
 * carries it has computed the same as those who carried it first. Forgotten once nobody has carried it for 30 days, and sooner where a
 * model file has too many: those that were carried last stay, so that one that makes up a class a day drives out its own inventions.
 */
export class KernelNames {
  readonly #sql: Sql
  readonly #runtime: Pick<Runtime, 'now'>

  constructor(sql: Sql, runtime: Pick<Runtime, 'now'>) {
    this.#sql = sql
    this.#runtime = runtime
  }

  /** Those of a model file, the oldest first. */
  of(digest: string): Promise<NamedClass[]> {
    return this.#sql<NamedClass[]>`
      select kernel, text, hash from kernel_classes where digest = ${digest}
       order by found_at, kernel limit ${verificationLimits.kernelNamesMax}`
  }

  async keep(digest: string, { kernel, text, hash }: NamedClass): Promise<void> {
    const now = this.#runtime.now()
    await this
      .#sql`delete from kernel_classes where seen_at < ${now - verificationLimits.calibrationKeptMs}::timestamptz`
    await this.#sql`
      delete from kernel_classes where digest = ${digest} and kernel <> ${kernel} and kernel in (
        select kernel from kernel_classes where digest = ${digest} and kernel <> ${kernel}
         order by seen_at desc, found_at, kernel offset ${verificationLimits.kernelNamesMax - 1})`
    await this.#sql`
      insert into kernel_classes (digest, kernel, text, hash, found_at, seen_at)
      select ${digest}, ${kernel}, ${text}, ${hash}, ${now}::timestamptz, ${now}::timestamptz
       where (select count(*) from kernel_classes where digest = ${digest}) < ${verificationLimits.kernelNamesMax}
          on conflict do nothing`
  }

  /** Somebody carries them. */
  async seen(digest: string, kernels: readonly string[]): Promise<void> {
    await this.#sql`
      update kernel_classes set seen_at = ${this.#runtime.now()}::timestamptz
       where digest = ${digest} and kernel = any (${texts([...kernels])}::text[])`
  }
}
