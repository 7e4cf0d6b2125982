import type { BuildResult } from 'esbuild'

export function bundle(outdir: string): Promise<BuildResult<{ metafile: true }>>
