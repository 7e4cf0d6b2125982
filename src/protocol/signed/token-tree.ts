import { CompactTree, canonicalize } from '#crypto'

/** `id` of a leaf that is a delta (tool calls and the like) and not a token. */
export const deltaLeafId = 0xffff_fffe

/**
 * What a worker sent in one segment, as an RFC 9162 tree that grows with it. Pool and worker build it apart and must come to the same root.
 * A leaf is `sha256(0x00 ‖ u32be id ‖ piece)`. Its size in memory is the logarithm of its leaves.
 */
export class TokenTree {
  readonly #tree: CompactTree

  constructor(tree = new CompactTree()) {
    this.#tree = tree
  }

  /** Leaves so far. */
  get tokens(): number {
    return this.#tree.size
  }

  add({ id, piece }: { readonly id: number; readonly piece: Buffer }): void {
    this.#tree.appendNumbered(id, piece)
  }

  /** Throws a TypeError on what canonical JSON cannot say. */
  addDelta(delta: object): void {
    this.#tree.appendNumbered(deltaLeafId, canonicalize(delta))
  }

  /** An embedding: `values` are f32 little-endian, as they travel. */
  addVector(inputIndex: number, values: Buffer): void {
    this.#tree.appendNumbered(inputIndex, values)
  }

  /** One that grows apart from here on. */
  clone(): TokenTree {
    return new TokenTree(this.#tree.clone())
  }

  /** 32 bytes; the empty tree has `sha256("")`. */
  root(): Buffer {
    return this.#tree.root()
  }
}
