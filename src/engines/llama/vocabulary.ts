import { type LlamaModel, LlamaVocabularyType, type Token as TokenId } from 'node-llama-cpp'
import { PoolError } from '#protocol'

/** `tokenizer.ggml.token_type` of GGUF. */
const kind = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

/** GPT-2's letters for bytes: printable Latin-1 stands for itself, the other bytes for U+0100 and up. */
const byteOfLetter: ReadonlyMap<string, number> = new Map(
  (() => {
    const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173)
    let odd = 256
    return Array.from({ length: 256 }, (_, byte): [string, number] => [
      String.fromCodePoint(printable(byte) ? byte : odd++),
      byte,
    ])
  })(),
)

/** The bytes a token adds to the text (llama.cpp `llama_token_to_piece` without special tokens). */
export function tokenPiece(text: string, type: number, byteLetters: boolean): Buffer {
  if (type === kind.control || type === kind.unknown) return Buffer.alloc(0)
  if (type === kind.userDefined) return Buffer.from(text)
  if (type === kind.byte) return Buffer.from([Number.parseInt(text.slice(3, 5), 16)])
  if (!byteLetters) return Buffer.from(text.replaceAll('\u2581', ' '))
  const bytes = [...text].map((letter) => byteOfLetter.get(letter) ?? letter)
  return Buffer.concat(bytes.map((byte) => (typeof byte === 'number' ? Buffer.from([byte]) : Buffer.from(byte))))
}

/** A model's tokens: their bytes, which of them end an answer, which of them steer the model. */
export class Vocabulary {
  readonly size: number
  readonly #model: LlamaModel
  readonly #texts: readonly string[]
  readonly #types: ArrayLike<number>
  readonly #byteLetters: boolean
  readonly #pieces: (Buffer | undefined)[] = []
  #endIds: readonly number[] | undefined

  constructor(model: LlamaModel) {
    const { tokens, token_type: types, model: tokenizer } = model.fileInfo.metadata.tokenizer.ggml
    const known = [LlamaVocabularyType.bpe, LlamaVocabularyType.spm, LlamaVocabularyType.ugm, LlamaVocabularyType.wpm]
    if (!known.includes(model.vocabularyType)) {
      const message = `Its tokenizer "${String(tokenizer)}" is not one this engine knows.`
      throw new PoolError('model_unreadable', message, 'Use a model with a BPE, SentencePiece or WordPiece tokenizer.')
    }
    this.#model = model
    this.#texts = tokens
    this.#types = types ?? []
    // Gemma 4 calls itself BPE but writes spaces as SentencePiece does.
    this.#byteLetters = model.vocabularyType === LlamaVocabularyType.bpe && String(tokenizer) !== 'gemma4'
    this.size = tokens.length
  }

  piece(id: number): Buffer {
    const known = this.#pieces[id]
    if (known) return known
    const piece = tokenPiece(this.#texts[id] ?? '', this.#types[id] ?? kind.normal, this.#byteLetters)
    this.#pieces[id] = piece
    return piece
  }

  /** Whether the token ends an answer. */
  ends(id: number): boolean {
    return this.#model.isEogToken(id as TokenId)
  }

  /** All tokens that end an answer. */
  endIds(): readonly number[] {
    this.#endIds ??= this.#texts.flatMap((_, id) => (this.ends(id) ? [id] : []))
    return this.#endIds
  }

  /** Spellings that the tokenizer reads as control tokens: `<|im_end|>`. */
  controlTexts(): readonly string[] {
    return this.#texts.filter((text, id) => {
      const type = this.#types[id]
      return text !== '' && (type === kind.control || type === kind.unknown)
    })
  }
}
