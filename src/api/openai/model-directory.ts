import type { ModelFeature } from '#protocol'

/** One file (or upstream) that is offered under a model's name. */
export interface ModelVariant {
  /** Lowercase hex sha256 of the file; null for an upstream. */
  readonly digest: string | null
  readonly engine: string
  readonly contextTokens: number
  readonly features: readonly ModelFeature[]
  /** Approved workers that offer it now. */
  readonly workers: number
}

/** A model that can be asked for by name. */
export interface ModelEntry {
  readonly name: string
  /** Unix seconds when this pool first saw it. */
  readonly created: number
  /** Most workers first, at least one. */
  readonly variants: readonly ModelVariant[]
}

/** What there is to ask for now. `find` is on the path of every request: no scan. */
export interface ModelDirectory {
  /** Approved workers that offer something. */
  readonly workers: number
  find(name: string): ModelEntry | undefined
  /** By name. */
  list(): readonly ModelEntry[]
}
