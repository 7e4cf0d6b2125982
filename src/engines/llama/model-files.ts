import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { modelOfferSchema, PoolError } from '#protocol'
import { engineLimits } from '../limits.ts'
import type { ModelFile } from './engine-messages.ts'

const splitName = /-(\d{5})-of-(\d{5})\.gguf$/

/** All files of a model: a split one (`name-00001-of-00003.gguf`) is named by its first part. */
export function modelParts(file: string): readonly string[] {
  const [, , count] = splitName.exec(file) ?? []
  if (count === undefined) return [file]
  return Array.from({ length: Number(count) }, (_, index) =>
    file.replace(splitName, `-${String(index + 1).padStart(5, '0')}-of-${count}.gguf`),
  )
}

/** A file's name as clients may say it: without ending, odd characters as dashes. */
export function nameOfFile(file: string): string {
  const base = path
    .basename(file)
    .replace(splitName, '')
    .replace(/\.gguf$/i, '')
  return (
    base
      .replace(/[^\w.:@+-]+/g, '-')
      .replace(/^[^\w]+/, '')
      .slice(0, 200) || 'model'
  )
}

async function filesIn(place: string): Promise<readonly string[]> {
  const found = await stat(place).catch(() => undefined)
  if (!found) throw unreadable(`There is no ${place}.`, 'Give the path of a GGUF file, or of a folder with some.')
  if (!found.isDirectory()) return [place]
  const names = (await readdir(place)).filter((name) => /\.gguf$/i.test(name) && !/^mmproj/i.test(name)).sort()
  const first = names.filter((name) => (splitName.exec(name)?.[1] ?? '00001') === '00001')
  if (first.length === 0)
    throw unreadable(`${place} holds no GGUF file.`, 'Put a .gguf file there or name another folder.')
  if (first.length > engineLimits.modelFilesMax) {
    throw unreadable(`${place} holds ${first.length} models.`, `Name at most ${engineLimits.modelFilesMax}.`)
  }
  return first.map((name) => path.join(place, name))
}

/** The files behind the models an operator named. Names must differ and be ones a client can say. */
export async function findModelFiles(models: readonly { name?: string; path: string }[]): Promise<ModelFile[]> {
  const files: ModelFile[] = []
  for (const model of models) {
    const paths = await filesIn(path.resolve(model.path))
    if (model.name !== undefined && paths.length > 1) {
      throw unreadable(`The name ${model.name} is given to a folder of several models.`, 'Name a single file.')
    }
    files.push(...paths.map((file) => ({ name: model.name ?? nameOfFile(file), path: file })))
  }
  for (const { name } of files) {
    if (!modelOfferSchema.shape.name.safeParse(name).success) {
      throw unreadable(
        `${JSON.stringify(name).replace(/\p{C}/gu, '?')} is no name for a model.`,
        'Use letters, digits and . : / @ + - _.',
      )
    }
    if (files.filter((file) => file.name === name).length > 1) {
      throw unreadable(`Two models are called ${name}.`, 'Give one of them another name.')
    }
  }
  return files
}

function unreadable(message: string, fix: string): PoolError {
  return new PoolError('model_unreadable', message, fix)
}
