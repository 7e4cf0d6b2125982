/** Rules every JSON grammar may use. Blanks are bounded, so that a model cannot pad for ever. */
export const basicRules: Readonly<Record<string, string>> = {
  blank: '" "?',
  char: String.raw`[^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt/] | "u" ([0-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}))`,
  string: String.raw`"\"" char* "\""`,
  integer: '"-"? ("0" | [1-9] [0-9]{0,15})',
  number: 'integer ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?',
  positive: '("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?',
  boolean: '"true" | "false"',
  null: '"null"',
  value: 'object | array | string | number | boolean | null',
  pair: 'string ":" blank value',
  object: '"{" (pair ("," blank pair)*)? "}"',
  array: '"[" (value ("," blank value)*)? "]"',
  digit: '[0-9]',
  hex: '[0-9a-fA-F]',
  byte: '"25" [0-5] | "2" [0-4] [0-9] | "1" [0-9]{2} | [1-9]? [0-9]',
  date: 'digit{4} "-" (("0" [13578] | "1" [02]) "-" (day | "29" | "30" | "31") | ("0" [469] | "11") "-" (day | "29" | "30") | "02-" day)',
  day: '"0" [1-9] | "1" digit | "2" [0-8]',
  time: '([0-1] digit | "2" [0-3]) ":" [0-5] digit ":" [0-5] digit ("." digit{1,6})? ("Z" | [-+] ([0-1] digit | "2" [0-3]) ":" [0-5] digit)',
  uuid: 'hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}',
}
/** Rules that a rule names. */
export const basicNeeds: Readonly<Record<string, readonly string[]>> = {
  string: ['char'],
  number: ['integer'],
  value: ['object', 'array', 'string', 'number', 'boolean', 'null'],
  pair: ['string', 'blank', 'value'],
  object: ['pair', 'blank'],
  array: ['value', 'blank'],
  date: ['digit', 'day'],
  day: ['digit'],
  time: ['digit'],
  uuid: ['hex'],
}
/** `format` of strings. */
export const stringFormats: Readonly<Record<string, { body: string; needs: readonly string[] }>> = {
  date: { body: 'date', needs: ['date'] },
  time: { body: 'time', needs: ['time'] },
  'date-time': { body: 'date "T" time', needs: ['date', 'time'] },
  uuid: { body: 'uuid', needs: ['uuid'] },
  ipv4: { body: 'byte "." byte "." byte "." byte', needs: ['byte'] },
}
