/** Node accepts line breaks, missing padding and the URL alphabet; RFC 4648 §3.5 canonical form is required here. */
export function fromBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}
