/** A setting that cannot be followed. Shaped like every refusal of the product: code, sentence, fix. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly code: 'config_invalid' | 'insecure_bind'
  readonly fix: string

  constructor(code: ConfigError['code'], message: string, fix: string) {
    super(message)
    this.code = code
    this.fix = fix
  }
}
