/**
 * The one script of the page: signs a decision about a WRITE, or a bond, with an admin key from a file of this computer. The key is read here and
 * sent nowhere. Without it the page works, and both are signed on the command line.
 */
export const signScript = `'use strict'
const text = (value) => new TextEncoder().encode(value)
const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('')
const base64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)))
const sha256 = (bytes) => crypto.subtle.digest('SHA-256', bytes)

function fields(list) {
  const parts = list.map(text)
  const out = new Uint8Array(parts.reduce((sum, part) => sum + 4 + part.length, 0))
  let at = 0
  for (const part of parts) {
    new DataView(out.buffer).setUint32(at, part.length)
    out.set(part, at + 4)
    at += 4 + part.length
  }
  return out
}

async function readKey(file) {
  const text = file.size > 100 ? '' : (await file.text()).trim()
  if (!/^[A-Za-z0-9_-]{43}$/.test(text)) throw new Error('This file is no admin key.')
  const seed = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (sign) => sign.charCodeAt(0))
  const head = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32]
  const key = await crypto.subtle.importKey('pkcs8', new Uint8Array([...head, ...seed]), 'Ed25519', true, ['sign'])
  const { x } = await crypto.subtle.exportKey('jwk', key)
  const raw = Uint8Array.from(atob(x.replaceAll('-', '+').replaceAll('_', '/')), (sign) => sign.charCodeAt(0))
  return { key, id: hex(await sha256(raw)) }
}

async function decisionOf(form, decision) {
  const { pool, peer, request, action, params } = form.dataset
  const override = ['slashing', 'reciprocal'].filter((name) => form.querySelector('input[value=' + name + ']').checked).join(',')
  return ['lichen-admin-decision/1', pool, peer, request, action, hex(await sha256(text(params))), decision, decision === 'approve' ? override : '']
}

function bondOf(form) {
  const { pool, peer, level } = form.dataset
  return ['lichen-admin-acceptance/1', pool, peer, level]
}

// the clock is the pool's, from when it made the page, and how long the page has been here
async function sign(form, decision, sinceMs) {
  const [file] = form.querySelector('input[type=file]').files
  if (!file) throw new Error('Choose the file of your admin key first.')
  const { key, id } = await readKey(file)
  const at = Number(form.dataset.now) + Math.floor(sinceMs / 1000)
  const said = form.dataset.request ? await decisionOf(form, decision) : bondOf(form)
  const bytes = fields([...said, String(at)])
  const signature = base64(await crypto.subtle.sign('Ed25519', key, bytes))
  return JSON.stringify([{ key_id: id, signed_at: at, signature }])
}

// only over TLS or on this machine does a browser sign; elsewhere the commands stay
for (const form of crypto.subtle ? document.querySelectorAll('form[data-now]') : []) {
  form.querySelector('.unsigned').hidden = true
  form.querySelector('.signing').hidden = false
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const said = form.querySelector('[role=status]')
    const decision = event.submitter.value
    said.textContent = 'Signing…'
    sign(form, decision, event.timeStamp).then(
      (signatures) => {
        form.elements.signatures.value = signatures
        if (form.elements.decision) form.elements.decision.value = decision
        form.submit()
      },
      (error) => {
        said.textContent = error.message
      },
    )
  })
}
`
