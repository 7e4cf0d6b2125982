import type { BuildOptions, BuildResult } from 'esbuild'

export function buildBrowserClient(more: BuildOptions): Promise<BuildResult & { outputFiles: { text: string }[] }>
