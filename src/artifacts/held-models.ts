import { mkdir, open, readdir, readFile, rename, rm, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { hex64, modelOfferSchema, parseJson } from '#protocol'
import { diskFull, isFull, modelPath } from './fetch-model.ts'
import { artifactsLimits } from './limits.ts'

/** A fetched model file, and the name it is lent by. */
export interface HeldModel {
  readonly name: string
  readonly digest: string
  readonly bytes: number
}

const heldSchema = z
  .array(
    z.strictObject({
      name: modelOfferSchema.shape.name,
      digest: hex64,
      bytes: z.int().min(1),
    }),
  )
  .max(artifactsLimits.heldMax)

/** A worker's folder of fetched models: `<digest>.gguf` each, and `held.json` that says their names. Its owner may delete any of them. */
export class HeldModels {
  readonly folder: string
  readonly #spaceBytes: number

  private constructor(folder: string, spaceBytes: number) {
    this.folder = folder
    this.#spaceBytes = spaceBytes
  }

  /** `spaceBytes`: what all of them may take of the disk. */
  static async open(folder: string, spaceBytes: number): Promise<HeldModels> {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    return new HeldModels(folder, spaceBytes)
  }

  /** Those whose files are there. */
  async list(): Promise<readonly (HeldModel & { readonly path: string })[]> {
    const known = await this.#read()
    const found = await Promise.all(
      known.map(async (model) => {
        const file = modelPath(this.folder, model.digest)
        const there = await stat(file).catch(() => undefined)
        return there?.isFile() && there.size === model.bytes ? [{ ...model, path: file }] : []
      }),
    )
    return found.flat()
  }

  /**
   * Takes the place of one with its name, and of the oldest where they are too many: what is not named any more is deleted, the new file,
   * too, where it cannot be named. @throws PoolError disk_full.
   */
  async add(model: HeldModel): Promise<void> {
    const others = (await this.list()).filter(({ digest, name }) => digest !== model.digest && name !== model.name)
    const rows = [...others.map(({ name, digest, bytes }) => ({ name, digest, bytes })), model]
    try {
      await this.#write(rows.slice(-artifactsLimits.heldMax))
    } finally {
      await this.#clearNameless()
    }
  }

  /** A file that no engine can load is of no use. It goes before its name does, which takes room that a full disk has only then. @throws PoolError disk_full. */
  async remove(digest: string): Promise<void> {
    const rows = (await this.#read()).filter((model) => model.digest !== digest)
    await rm(modelPath(this.folder, digest), { force: true })
    await this.#write(rows)
  }

  /**
   * Bytes it would still take: of what the owner gives, and of what the disk has. Every model file that lies there counts as taken, named or
   * not, but for these; what a broken fetch left counts as free.
   */
  async roomBytes(without: readonly string[] = []): Promise<number> {
    const files = await this.#files('gguf')
    const leaving = files.filter((file) => without.includes(path.basename(file, '.gguf')))
    const [taken, freed] = await Promise.all([sizeOf(files), sizeOf(leaving)])
    const begun = await sizeOf(await this.#files('part'))
    const { bavail, bsize } = await statfs(this.folder)
    const free = bavail * bsize - artifactsLimits.diskSpareBytes + begun + freed
    return Math.max(0, Math.min(this.#spaceBytes - taken + freed, free))
  }

  /** Before this file is fetched: what broken fetches of others left goes, and what lies there without a name. */
  async clearOthers(digest: string): Promise<void> {
    const others = (await this.#files('part')).filter((part) => !path.basename(part).startsWith(digest))
    await Promise.all(others.map((part) => rm(part, { force: true })))
    await this.#clearNameless()
  }

  /** Files that an end between their last byte and their name has left, and those that lost it. */
  async #clearNameless(): Promise<void> {
    const named = new Set((await this.#read()).map(({ digest }) => modelPath(this.folder, digest)))
    const nameless = (await this.#files('gguf')).filter((file) => !named.has(file))
    await Promise.all(nameless.map((file) => rm(file, { force: true })))
  }

  async #files(kind: 'gguf' | 'part'): Promise<string[]> {
    const names = await readdir(this.folder)
    const ours = names.filter((name) => /^[0-9a-f]{64}$/.test(path.basename(name, `.${kind}`)) && name.endsWith(kind))
    return ours.map((name) => path.join(this.folder, name))
  }

  async #read(): Promise<HeldModel[]> {
    const bytes = await readFile(path.join(this.folder, 'held.json')).catch(() => undefined)
    if (!bytes || bytes.length > artifactsLimits.heldFileBytesMax) return []
    const json = parseJson(bytes)
    const parsed = heldSchema.safeParse(json.ok ? json.value : undefined)
    return parsed.success ? parsed.data : []
  }

  async #write(rows: readonly HeldModel[]): Promise<void> {
    const file = path.join(this.folder, 'held.json')
    const fresh = `${file}.new`
    try {
      await using handle = await open(fresh, 'w', 0o600)
      await handle.writeFile(JSON.stringify(rows, null, 1))
      await handle.sync()
      await rename(fresh, file)
    } catch (error) {
      await rm(fresh, { force: true })
      throw isFull(error) ? diskFull() : error
    }
  }
}

async function sizeOf(files: readonly string[]): Promise<number> {
  const sizes = await Promise.all(files.map((file) => stat(file).then(({ size }) => size)))
  return sizes.reduce((sum, size) => sum + size, 0)
}
