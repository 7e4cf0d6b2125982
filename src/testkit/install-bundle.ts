import { cpSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { packageRoot } from '#config'
import { bundle } from '../../tools/bundle.mjs'

/** Lichen as npm installs it, in a new folder: without sources, which its launcher would prefer, and which start slower. */
export async function installBundle(folder: string): Promise<void> {
  await bundle(path.join(folder, 'dist'))
  for (const name of ['bin', 'package.json']) {
    cpSync(path.join(packageRoot, name), path.join(folder, name), { recursive: true })
  }
  for (const name of ['migrations', 'models', 'node_modules']) {
    symlinkSync(path.join(packageRoot, name), path.join(folder, name))
  }
}
