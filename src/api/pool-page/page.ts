import { canonicalize } from '#crypto'
import { adminActions, type PeerView, type RequestRow, type ToggleRow } from '#federation'
import { escapeHtml as esc } from '../html.ts'
import { pageStyle } from './style.ts'

export interface PagePeer {
  readonly id: string
  readonly name: string
  readonly url: string
  readonly trust: number
  readonly revoked: boolean
  readonly version: number
  readonly reachable: boolean
  /** What admins of each side have accepted in writing: 0, 3 or 4. */
  readonly ourLevel: number
  readonly theirLevel: number
  readonly bondProblems: PeerView['bondProblems']
}

/** What the page shows. */
export interface PageFacts {
  readonly pool: string
  readonly name: string
  readonly mode: string
  /** Why federation is off; empty: it is not. */
  readonly off: readonly string[]
  readonly toggles: readonly ToggleRow[]
  readonly inbox: readonly RequestRow[]
  readonly outbox: readonly RequestRow[]
  readonly peers: readonly PagePeer[]
  /** When the page is made, milliseconds since 1970. */
  readonly now: number
  /** Whether the reader may decide, and may stop federation. */
  readonly mayDecide: boolean
  readonly mayKill: boolean
}

export interface Notice {
  readonly good: boolean
  readonly text: string
}

const trusts = ['revoked', 'known', 'trusted with jobs', 'bonded', 'settlement']

/** Texts of the toggles, as an operator reads them before they touch one. */
const toggleTexts = {
  read: {
    title: 'Let bonded pools ask to read my event log',
    text: 'Recommended on. A pool that asks gets, once you have approved, what happened in the last seven days: circuits, workers that came and went. Filtered, nothing about other pools, no economic effect.',
  },
  write: {
    title: 'Let bonded pools ask to change something here',
    text: 'Keep off unless you know why you need it: a reset can bring back a worker that was set aside for good reason. When it is on you still approve or reject each request, and guards object while a worker is being slashed, within six hours of the last reset, or when two pools reset each other. Off is the safest posture.',
  },
  accept: {
    title: 'Compute for pools that are trusted with jobs',
    text: 'They pay as agreed, up to the credit you give them; your own requests come first. Off acts on the next job; what runs may end.',
  },
  forward: {
    title: 'Let pools that are trusted with jobs compute for this one',
    text: 'Only requests whose privacy is standard and whose API key may be forwarded, and only for models that are missing here or while the queue is long. Those pools see what they compute on.',
  },
} as const

const layout = (title: string, body: string) => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${esc(title)}</title><style>${pageStyle}</style><script src="/admin/pool/sign.js" defer></script></head>
<body><a class="skip" href="#main">Skip to the content</a>${body}</body></html>
`

const noticeHtml = (notice: Notice | undefined) =>
  notice
    ? `<p class="notice${notice.good ? '' : ' bad'}" role="${notice.good ? 'status' : 'alert'}">${esc(notice.text)}</p>`
    : ''

/** Who is not logged in sees this and nothing else. */
export function loginPage(notice: Notice | undefined): string {
  return layout(
    'Log in · Lichen pool',
    `<main id="main"><h1>Lichen pool</h1>${noticeHtml(notice)}
<form method="post" action="/admin/pool/login" class="card">
<label for="key">The owner’s key, or an API key with the role auditor or more</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<p class="soft small">The owner’s key is the content of <code>owner.key</code> in the pool’s data folder. The session ends after an hour.</p>
<div class="acts"><button>Log in</button></div></form></main>`,
  )
}

/** The whole page for somebody who may see it. `token` stands in every form. */
export function poolPage(facts: PageFacts, token: string, notice: Notice | undefined): string {
  const hidden = `<input type="hidden" name="token" value="${esc(token)}">`
  return layout(
    `${facts.name} · Lichen pool`,
    `<header><div><h1>${esc(facts.name)}</h1><p class="soft small">Pool <code>${esc(facts.pool)}</code></p></div>
<form method="post" action="/admin/pool/logout">${hidden}<button class="plain">Log out</button></form></header>
<main id="main">${noticeHtml(notice)}
${switchHtml(facts, hidden)}
<h2 id="inbox">Requests for you</h2>${inboxHtml(facts, hidden)}
<h2 id="toggles">What other pools may</h2>${turnable.map((name) => toggleHtml(facts, name, hidden)).join('')}
<h2 id="peers">Other pools</h2>${peersHtml(facts)}${bondsHtml(facts, hidden)}
<h2 id="outbox">What was asked of others</h2>${outboxHtml(facts)}
</main>`,
  )
}

const turnable = Object.keys(toggleTexts) as readonly (keyof typeof toggleTexts)[]
/** The switch of this name that the page has. */
export const switchNamed = (name: string | undefined) => turnable.find((one) => one === name)

function switchHtml({ off, mode, mayKill, mayDecide }: PageFacts, hidden: string): string {
  const isOff = off.length > 0
  const state = isOff ? '<span class="state bad">off</span>' : `<span class="state good">${esc(mode)}</span>`
  const why = isOff
    ? `Switched off by: ${off.map((one) => `<code>${esc(one)}</code>`).join(', ')}. Requests of other pools are refused with 503, and none is called.`
    : 'Other pools are heard and called. Stopping acts on the very next request; clients and workers notice nothing.'
  const kill = `<form method="post" action="/admin/pool/kill" class="acts">${hidden}
<input type="text" name="reason" aria-label="Reason" placeholder="Reason, kept in the log" maxlength="200"><button class="stop">Stop all federation</button></form>`
  const resume = `<form method="post" action="/admin/pool/resume" class="acts">${hidden}<button>Let it run again</button></form>`
  const act = isOff ? (mayDecide ? resume : '') : mayKill ? kill : ''
  return `<section class="card" aria-labelledby="switch"><div class="row"><h2 id="switch">Federation</h2>${state}</div><p>${why}</p>${act}</section>`
}

function inboxHtml(facts: PageFacts, hidden: string): string {
  const { inbox, peers } = facts
  if (inbox.length === 0) return '<p class="soft">Nobody asks for anything.</p>'
  return inbox.map((row) => requestHtml(row, nameOf(peers, row.peerId), facts, hidden)).join('')
}

const nameOf = (peers: readonly PagePeer[], id: string) => peers.find((peer) => peer.id === id)?.name ?? id.slice(0, 12)

function requestHtml(row: RequestRow, name: string, about: PageFacts, hidden: string): string {
  const { requestId, peerId, action, params, email, expiresAt, decisionSignatures } = row
  const kind = adminActions[action]
  const asked = canonicalize(params).toString()
  const facts = [
    ['From', `${esc(name)} <code>${esc(peerId)}</code>`],
    ['With', `<code>${esc(asked)}</code>`],
    ...(email === null ? [] : [['Signs as', `${esc(email)} <span class="soft">(not verified)</span>`]]),
    ['Until', `<time datetime="${timeOf(expiresAt)}">${timeOf(expiresAt)}</time>`],
    ...(decisionSignatures.length === 0 ? [] : [['Approved by', `${decisionSignatures.length} of the admins so far`]]),
  ]
  const list = facts.map(([term, html]) => `<dt>${term}</dt><dd>${html}</dd>`).join('')
  const form = kind === 'write' ? writeForm(row, about, asked, hidden) : readForm(row, hidden)
  const act = about.mayDecide ? form : ''
  return `<article class="card" aria-labelledby="${esc(requestId)}"><div class="row"><h3 id="${esc(requestId)}">${esc(action)}</h3>
<span class="state ${kind === 'write' ? 'bad' : 'good'}">${kind.toUpperCase()}</span></div><dl>${list}</dl>${act}</article>`
}

const timeOf = (ms: number) => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')

const decideAt = ({ requestId }: RequestRow) => `/admin/pool/requests/${esc(requestId)}`
const buttons = `<button name="decision" value="approve">Approve</button><button class="plain" name="decision" value="reject">Reject</button>`

const readForm = (row: RequestRow, hidden: string) =>
  `<form method="post" action="${decideAt(row)}" class="acts">${hidden}${buttons}</form>`

/** What the script signs, in a form that it signs. `now`: milliseconds since 1970. */
function signedHere({ now, ...words }: { now: number } & Readonly<Record<string, string | number>>): string {
  const data = Object.entries({ now: Math.floor(now / 1_000), ...words })
  return data.map(([name, value]) => `data-${name}="${esc(String(value))}"`).join(' ')
}

const keyField =
  '<label>Your admin key <span class="soft small">(a file of this computer; it is read here and sent nowhere)</span><br><input type="file" accept=".key"></label>'

/** A WRITE is signed by an admin: by the script with a key file of this computer, or on the command line. */
function writeForm(row: RequestRow, { pool, now }: PageFacts, asked: string, hidden: string): string {
  const { requestId, peerId, action } = row
  const data = signedHere({ now, pool, peer: peerId, request: requestId, action, params: asked })
  return `<form method="post" action="${decideAt(row)}" ${data}>${hidden}
<input type="hidden" name="signatures"><input type="hidden" name="decision">
<p class="unsigned small">A WRITE is decided with the signature of an admin. Without a script in this browser:<br>
<code>lichen fed decide ${esc(requestId)} --approve</code><br><code>lichen fed decide ${esc(requestId)} --reject</code></p>
<div class="signing" hidden>${keyField}
<details><summary>Override a guard</summary><fieldset><legend class="small soft">On record for ever, with all that the guard saw</legend>
<label><input type="checkbox" name="override" value="slashing"> although a worker is being slashed</label>
<label><input type="checkbox" name="override" value="reciprocal"> although that pool has reset for this one</label></fieldset></details>
<div class="acts"><button value="approve">Sign and approve</button><button class="plain" value="reject">Sign and reject</button><span role="status" class="bad small"></span></div></div></form>`
}

function toggleHtml({ toggles, mayDecide }: PageFacts, name: keyof typeof toggleTexts, hidden: string): string {
  const { title, text } = toggleTexts[name]
  const row = toggles.find((toggle) => toggle.name === name)
  const isOn = row?.isOn === true
  const since =
    row && row.changedBy !== 'default'
      ? `<p class="soft small">Since ${timeOf(row.changedAt)}, by ${esc(row.changedBy)}</p>`
      : ''
  const act = mayDecide
    ? `<form method="post" action="/admin/pool/toggles/${name}" class="acts">${hidden}<button class="plain" name="on" value="${isOn ? 'false' : 'true'}">Turn ${isOn ? 'off' : 'on'}<span class="skip">: ${esc(title)}</span></button></form>`
    : ''
  return `<section class="card"><div class="row"><h3>${esc(title)}</h3><span class="state ${isOn ? 'good' : 'soft'}">${isOn ? 'on' : 'off'}</span></div>
<p>${esc(text)}</p>${since}${act}</section>`
}

function peersHtml({ peers }: PageFacts): string {
  if (peers.length === 0) return '<p class="soft">No other pool is known. Meet one: <code>lichen fed add URL</code></p>'
  const rows = peers.map(({ id, name, url, trust, revoked, version, reachable }) => {
    const how = revoked ? '<span class="bad">revoked</span>' : `${trust} ${esc(trusts[trust] ?? '')}`
    const seen = reachable ? '<span class="good">reachable</span>' : '<span class="soft">not seen</span>'
    return `<tr><td>${esc(name)}<br><code class="soft">${esc(id.slice(0, 16))}…</code></td><td>${how}</td><td>${seen}</td><td>${version}</td><td><code>${esc(url)}</code></td></tr>`
  })
  return `<div class="wide"><table><thead><tr><th scope="col">Pool</th><th scope="col">Trust</th><th scope="col">State</th><th scope="col">Version</th><th scope="col">Address</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`
}

/**
 * Pools that may be bonded with: each is told how far that is, and by whom. First those whose admin's word holds here, then by trust: however
 * many strangers say something, they hide nobody.
 */
function bondsHtml(facts: PageFacts, hidden: string): string {
  const near = facts.peers.filter(
    ({ version, revoked, trust, ourLevel, theirLevel, bondProblems }) =>
      version === 2 && !revoked && (trust === 2 || Math.max(ourLevel, theirLevel) > trust || bondProblems.length > 0),
  )
  const byWeight = near.toSorted((a, b) => Number(isOffered(b)) - Number(isOffered(a)) || b.trust - a.trust)
  const cards = byWeight.slice(0, bondsShown).map((peer) => bondHtml(peer, facts, hidden))
  return cards.length === 0 ? '' : `<h2 id="bonds">Bonds</h2>${cards.join('')}`
}
const bondsShown = 20

/** An admin there has signed, with a key that a human has registered here. */
const isOffered = ({ theirLevel, trust }: PagePeer) => theirLevel > trust

/** A bond begins with the signature of an admin of each pool; one of this pool is made by the script, or on the command line. */
function bondHtml(peer: PagePeer, { pool, now, mayDecide }: PageFacts, hidden: string): string {
  const { id, name, url, trust, ourLevel, theirLevel, bondProblems } = peer
  // what an admin there wants beyond the next step is offered after that step
  const level = Math.max(ourLevel, trust < 3 ? 3 : theirLevel)
  const mine = ourLevel < level
  const offered = isOffered(peer)
  const known = offered || trust >= 2
  const waits = mine ? offered : bondProblems.some(({ by }) => by === 'us')
  const state = waits ? 'waits for you' : mine ? 'none' : 'waits for them'
  const text = !mine
    ? 'An admin here has signed. It begins when an admin there has signed, too, and each pool knows the other’s admin key.'
    : offered
      ? `An admin there has signed. It begins when an admin here signs, too.${trust < 2 ? ' Your signature trusts it with jobs as well (2), at once.' : ''}`
      : 'Nobody whose key is known here has signed. A bond lets its admins ask for something here, and each pool witnesses the other’s log and hears its facts. It begins when an admin of each has signed.'
  const problems = bondProblems.map((one) => `<p class="small">${esc(one.text)}</p>`).join('')
  const form = `<form method="post" action="/admin/pool/peers/${esc(id)}/bond" ${signedHere({ now, pool, peer: id, level })}>${hidden}
<input type="hidden" name="signatures"><input type="hidden" name="level" value="${level}">
<p class="unsigned small">It is signed by an admin. Without a script in this browser: <code>lichen fed promote ${esc(id.slice(0, 12))} ${level}</code></p>
<div class="signing" hidden>${keyField}<div class="acts"><button>Sign the bond<span class="skip"> with ${esc(name)}</span></button><span role="status" class="bad small"></span></div></div></form>`
  return `<section class="card"><div class="row"><h3>${esc(name)}: ${level} ${esc(trusts[level] ?? '')}</h3><span class="state ${waits ? 'bad' : 'soft'}">${state}</span></div>
<p class="soft small"><code>${esc(id)}</code><br><code>${esc(url)}</code></p>
<p>${text}</p>${problems}${mine && known && mayDecide ? form : ''}</section>`
}

function outboxHtml({ outbox, peers }: PageFacts): string {
  if (outbox.length === 0) return '<p class="soft">Nothing. Ask: <code>lichen fed request POOL query_events</code></p>'
  const rows = outbox.map(
    ({ requestId, peerId, action, state, createdAt, error }) =>
      `<tr><td><code>${esc(requestId)}</code></td><td>${esc(nameOf(peers, peerId))}</td><td>${esc(action)}</td><td>${esc(state)}${error === null ? '' : `<br><span class="soft small">${esc(error)}</span>`}</td><td>${timeOf(createdAt)}</td></tr>`,
  )
  return `<div class="wide"><table><thead><tr><th scope="col">Request</th><th scope="col">Of</th><th scope="col">What</th><th scope="col">State</th><th scope="col">Asked</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`
}
