/**
 * RFC 4180 with CRLF. A cell that a spreadsheet would compute begins with an apostrophe instead (OWASP, CSV injection):
 * whatever starts like a formula and is no plain number.
 */
export function csv(rows: readonly (readonly string[])[]): string {
  return rows.map((row) => `${row.map(cell).join(',')}\r\n`).join('')
}

const formula = /^[=+\-@\t\r\n＝＋－＠]/
const number = /^-?\d+$/

function cell(text: string): string {
  const inert = formula.test(text) && !number.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert
}
