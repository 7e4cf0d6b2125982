import { type GgufTensor, type GgufValue, writeGguf } from '../../../tools/demo-model/gguf.ts'
import { seededNumbers } from '../../../tools/demo-model/seeded-numbers.ts'

/** Models for tests of prompts and tokens: any vocabulary, any template; their weights mean nothing. */

export interface TestVocabulary {
  readonly tokens: readonly string[]
  /** 1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte. */
  readonly types: readonly number[]
  readonly metadata: Readonly<Record<string, GgufValue>>
}

const u32 = (value: number): GgufValue => ({ type: 'u32', value })
const text = (value: string): GgufValue => ({ type: 'string', value })
const flag = (value: boolean): GgufValue => ({ type: 'bool', value })

/** SentencePiece style: `<unk>`, `<s>`, `</s>`, the bytes as ids 3 … 258, a space as 259, then words of choice. */
export function bytesVocabulary(words: readonly string[] = [], control: readonly string[] = []): TestVocabulary {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)
  const tokens = ['<unk>', '<s>', '</s>', ...bytes, '\u2581', ...words, ...control]
  return {
    tokens,
    types: [2, 3, 3, ...bytes.map(() => 6), 1, ...words.map(() => 1), ...control.map(() => 3)],
    metadata: {
      'tokenizer.ggml.model': text('llama'),
      'tokenizer.ggml.scores': { type: 'f32[]', value: tokens.map((_, id) => (id < 259 ? 0 : -1)) },
      'tokenizer.ggml.bos_token_id': u32(1),
      'tokenizer.ggml.eos_token_id': u32(2),
      'tokenizer.ggml.add_bos_token': flag(true),
      'tokenizer.ggml.add_space_prefix': flag(false),
    },
  }
}

/** GPT-2 style: a letter for each byte, some merged words, a control token, a user-defined one. */
export function lettersVocabulary(): TestVocabulary {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173)
  let odd = 256
  const letters = Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : odd++))
  const merges = ['Ġ t', 'h e', 'Ġt he', 'â Ĥ', 'âĤ ¬', 'Ċ Ċ']
  const tokens = [...letters, ...merges.map((merge) => merge.replace(' ', '')), '<|end|>', '<think>']
  const end = tokens.length - 2
  return {
    tokens,
    types: tokens.map((_, id) => (id < end ? 1 : id === end ? 3 : 4)),
    metadata: {
      'tokenizer.ggml.model': text('gpt2'),
      'tokenizer.ggml.pre': text('gpt-2'),
      'tokenizer.ggml.merges': { type: 'string[]', value: merges },
      'tokenizer.ggml.bos_token_id': u32(end),
      'tokenizer.ggml.eos_token_id': u32(end),
      'tokenizer.ggml.add_bos_token': flag(false),
    },
  }
}

export interface TestModelOptions {
  readonly contextTokens?: number
  readonly vocabulary?: TestVocabulary
  /** Jinja source; `null` for a model without a chat template. */
  readonly template?: string | null
  readonly metadata?: Readonly<Record<string, GgufValue>>
}

const defaultTemplate =
  "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}<|assistant|>"

const [width, heads, inner] = [32, 2, 64]

/** Writes a Llama of one layer. */
export function writeTestModel(path: string, options: TestModelOptions = {}): void {
  const { contextTokens = 2048, vocabulary = bytesVocabulary(), template = defaultTemplate, metadata = {} } = options
  const described: Record<string, GgufValue> = {
    'general.architecture': text('llama'),
    'general.file_type': u32(0),
    'llama.context_length': u32(contextTokens),
    'llama.embedding_length': u32(width),
    'llama.block_count': u32(1),
    'llama.feed_forward_length': u32(inner),
    'llama.attention.head_count': u32(heads),
    'llama.attention.layer_norm_rms_epsilon': { type: 'f32', value: 1e-5 },
    'llama.rope.dimension_count': u32(width / heads),
    'llama.vocab_size': u32(vocabulary.tokens.length),
    'tokenizer.ggml.tokens': { type: 'string[]', value: vocabulary.tokens },
    'tokenizer.ggml.token_type': { type: 'i32[]', value: vocabulary.types },
    ...vocabulary.metadata,
    ...(template === null ? {} : { 'tokenizer.chat_template': text(template) }),
    ...metadata,
  }
  writeGguf(path, described, tensors(vocabulary.tokens.length))
}

function tensors(words: number): GgufTensor[] {
  const next = seededNumbers(1)
  const matrix = (name: string, from: number, to: number): GgufTensor => ({
    name: `${name}.weight`,
    dims: [from, to],
    type: 'f32',
    values: Float32Array.from({ length: from * to }, () => next() - 0.5),
  })
  const ones = (name: string): GgufTensor => ({
    name: `${name}.weight`,
    dims: [width],
    type: 'f32',
    values: new Float32Array(width).fill(1),
  })
  const attention = ['attn_q', 'attn_k', 'attn_v', 'attn_output'].map((name) => matrix(`blk.0.${name}`, width, width))
  return [
    matrix('token_embd', width, words),
    ones('output_norm'),
    matrix('output', width, words),
    ones('blk.0.attn_norm'),
    ...attention,
    ones('blk.0.ffn_norm'),
    matrix('blk.0.ffn_gate', width, inner),
    matrix('blk.0.ffn_up', width, inner),
    matrix('blk.0.ffn_down', inner, width),
  ]
}
