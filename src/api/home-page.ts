import { escapeHtml } from './html.ts'

/** What the page of `GET /` shows. */
export interface HomeFacts {
  readonly pool: string
  readonly version: string
  /** Where clients reach the pool, if the operator said so. */
  readonly url: string | undefined
  readonly ready: boolean
  readonly models: readonly { readonly id: string; readonly workers: number }[]
}

/** Nothing is loaded from anywhere and no script runs; the one style sheet is named by its hash. */
export const homePagePolicy = (styleHash: string) =>
  `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`

export const homeStyle = `:root{color-scheme:light dark;--ink:#1c2420;--paper:#fbfcf9;--soft:#5b6a62;--line:#dde5df;--box:#f1f5f0;--good:#25794d;--bad:#a8452f}
@media (prefers-color-scheme:dark){:root{--ink:#e4ebe6;--paper:#141916;--soft:#97a79d;--line:#2c3630;--box:#1c2320;--good:#6fcf97;--bad:#f0906f}}
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:44rem;margin:3rem auto;padding:0 1.25rem}
a{color:var(--good)}h1{font-size:1.6rem;margin:0}p{margin:.6rem 0}.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}
code,pre{font:14px/1.5 ui-monospace,monospace}pre{background:var(--box);border:1px solid var(--line);border-radius:8px;padding:1rem;white-space:pre-wrap}code,pre{overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{text-align:left;padding:.4rem 0;border-bottom:1px solid var(--line)}td+td,th+th{text-align:right;padding-left:1rem}
.id,.id code{font-size:12px}`

/** The page a person sees who opens the pool in a browser. */
export function homePage({ pool, version, url, ready, models }: HomeFacts): string {
  const rows = models.map(({ id, workers }) => `<tr><td><code>${escapeHtml(id)}</code></td><td>${workers}</td></tr>`)
  const table = rows.length
    ? `<table><thead><tr><th>Model</th><th>Workers</th></tr></thead><tbody>${rows.join('')}</tbody></table>`
    : '<p>No worker offers a model yet. Invite one: <code>lichen invite --operator NAME</code></p>'
  const base = url?.replace(/\/$/, '') ?? '$POOL_URL'
  const example = `curl ${base}/v1/chat/completions \\
  -H "Authorization: Bearer $LICHEN_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"model":"${models[0]?.id ?? 'MODEL'}","messages":[{"role":"user","content":"Hello"}]}'`
  const state = ready ? '<span class="good">answers requests</span>' : '<span class="bad">not ready</span>'
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Lichen pool</title><style>${homeStyle}</style></head>
<body><h1>Lichen pool</h1>
<p class="soft">Version ${escapeHtml(version)} · ${state}</p>
<p class="id soft">Pool <code>${escapeHtml(pool)}</code></p>
${table}
<p>It speaks the OpenAI API.${url ? '' : ' <code>$POOL_URL</code> is the address of this page.'}</p>
<pre>${escapeHtml(example)}</pre>
<p>Make a key with <code>lichen keys create NAME</code>. The interface is described in <a href="/openapi.json">openapi.json</a>; <a href="/readyz">readiness</a> and <a href="/metrics">metrics</a> are here too; the manual is the <code>docs</code> folder of the package.</p>
</body></html>
`
}
