/** Bytes of base64url without padding (RFC 4648 §5); undefined unless the text is their only spelling. */
export function fromBase64url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}
