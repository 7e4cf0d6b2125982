/** Tiny llama models with random weights: any size, a second to make, gibberish to read. For tests. */
import { readFileSync } from 'node:fs'
import { type GgufTensor, type GgufValue, type TensorType, writeGguf } from './gguf.ts'
import { seededNumbers } from './seeded-numbers.ts'

export interface RandomModelOptions {
  /** Width of a token's state: a multiple of `heads`, and of 32 for `q8_0`. */
  dim: number
  layers: number
  heads: number
  /** Divides `heads`. */
  kvHeads: number
  /** Width of the feed-forward part; a multiple of 32 for `q8_0`. */
  ff: number
  /** Tokens the model says it was trained for. */
  context: number
  /** The same seed and options write the same bytes on every machine. */
  seed: number
  /** How matrices are stored; `f32` when absent. */
  quant?: TensorType
}

/** General file types of llama.cpp (`llama_ftype`). */
const fileTypes = { f32: 0, f16: 1, q8_0: 7 } as const
const tokenTypes = { normal: 1, unknown: 2, control: 3, byte: 6 } as const

/** The output rows of these ids are zero, so that a random model hardly ever ends its answer by itself. */
const controlTokens = 3

/**
 * Writes a model with the vocabulary and chat template of the demo model.
 * @throws RangeError when the sizes do not fit each other
 */
export function writeRandomModel(path: string, options: RandomModelOptions): void {
  const { dim, heads, kvHeads } = options
  if (dim % heads !== 0 || heads % kvHeads !== 0 || (dim / heads) % 2 !== 0)
    throw new RangeError(`${heads} heads and ${kvHeads} key-value heads do not divide ${dim} evenly`)
  writeGguf(path, metadata(options), tensors(options))
}

/** Three control tokens, 256 bytes, and the mark that the "llama" tokenizer makes of a space. */
function vocabulary() {
  const bytes = Array.from({ length: 256 }, (_, n) => `<0x${n.toString(16).toUpperCase().padStart(2, '0')}>`)
  const { unknown, control, byte, normal } = tokenTypes
  return {
    tokens: ['<unk>', '<s>', '</s>', ...bytes, '\u2581'],
    scores: [0, 0, 0, ...bytes.map(() => 0), -1],
    types: [unknown, control, control, ...bytes.map(() => byte), normal],
  }
}

function metadata(options: RandomModelOptions): Record<string, GgufValue> {
  const { dim, layers, heads, kvHeads, ff, context, quant = 'f32' } = options
  const { tokens, scores, types } = vocabulary()
  const u32 = (value: number): GgufValue => ({ type: 'u32', value })
  const text = (value: string): GgufValue => ({ type: 'string', value })
  const flag = (value: boolean): GgufValue => ({ type: 'bool', value })
  return {
    'general.architecture': text('llama'),
    'general.name': text('lichen-random'),
    'general.file_type': u32(fileTypes[quant]),
    'llama.context_length': u32(context),
    'llama.embedding_length': u32(dim),
    'llama.block_count': u32(layers),
    'llama.feed_forward_length': u32(ff),
    'llama.attention.head_count': u32(heads),
    'llama.attention.head_count_kv': u32(kvHeads),
    'llama.attention.layer_norm_rms_epsilon': { type: 'f32', value: 1e-5 },
    'llama.rope.dimension_count': u32(dim / heads),
    'llama.vocab_size': u32(tokens.length),
    'tokenizer.ggml.model': text('llama'),
    'tokenizer.ggml.tokens': { type: 'string[]', value: tokens },
    'tokenizer.ggml.scores': { type: 'f32[]', value: scores },
    'tokenizer.ggml.token_type': { type: 'i32[]', value: types },
    'tokenizer.ggml.bos_token_id': u32(1),
    'tokenizer.ggml.eos_token_id': u32(2),
    'tokenizer.ggml.unknown_token_id': u32(0),
    'tokenizer.ggml.add_bos_token': flag(true),
    'tokenizer.ggml.add_eos_token': flag(false),
    'tokenizer.ggml.add_space_prefix': flag(false),
    'tokenizer.chat_template': text(readFileSync(new URL('./chat-template.jinja', import.meta.url), 'utf8').trim()),
  }
}

function tensors({ dim, layers, heads, kvHeads, ff, seed, quant = 'f32' }: RandomModelOptions): GgufTensor[] {
  const next = seededNumbers(seed)
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())
  const ones = (name: string): GgufTensor => ({
    name: `${name}.weight`,
    dims: [dim],
    type: 'f32',
    values: new Float32Array(dim).fill(1),
  })
  const matrix = (name: string, inputs: number, outputs: number, scale = 1 / Math.sqrt(inputs)): GgufTensor => ({
    name: `${name}.weight`,
    dims: [inputs, outputs],
    type: quant,
    values: Float32Array.from({ length: inputs * outputs }, () => normal() * scale),
  })
  const words = vocabulary().tokens.length
  const output = matrix('output', dim, words, 3 / Math.sqrt(dim))
  output.values.fill(0, 0, controlTokens * dim)
  const kvDim = (dim / heads) * kvHeads
  const block = (at: string): GgufTensor[] => [
    ones(`${at}.attn_norm`),
    matrix(`${at}.attn_q`, dim, dim),
    matrix(`${at}.attn_k`, dim, kvDim),
    matrix(`${at}.attn_v`, dim, kvDim),
    matrix(`${at}.attn_output`, dim, dim),
    ones(`${at}.ffn_norm`),
    matrix(`${at}.ffn_gate`, dim, ff),
    matrix(`${at}.ffn_up`, dim, ff),
    matrix(`${at}.ffn_down`, ff, dim),
  ]
  const blocks = Array.from({ length: layers }, (_, n) => block(`blk.${n}`)).flat()
  return [matrix('token_embd', dim, words, 1), ones('output_norm'), output, ...blocks]
}
