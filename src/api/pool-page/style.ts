/** The one style sheet of the page; the policy names it by its hash. Light or dark as the reader's system is. */
export const pageStyle = `:root{color-scheme:light dark;--ink:#1c2420;--paper:#fbfcf9;--soft:#5b6a62;--line:#d5ded7;--box:#f1f5f0;--good:#1f6b43;--bad:#a03d28;--act:#1f6b43;--on:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#e4ebe6;--paper:#141916;--soft:#9dada3;--line:#2f3a34;--box:#1c2320;--good:#6fcf97;--bad:#f0906f;--act:#6fcf97;--on:#10140f}}
*{box-sizing:border-box}
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:56rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}
header{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;align-items:baseline;justify-content:space-between}
h1{font-size:1.5rem;margin:0}.card h2{margin:0}h2{font-size:1.15rem;margin:2.25rem 0 .6rem}h3{font-size:1rem;margin:0}p{margin:.4rem 0}
.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}.small{font-size:.875rem}
code{font:.875rem/1.5 ui-monospace,monospace;overflow-wrap:anywhere}
.card{background:var(--box);border:1px solid var(--line);border-radius:10px;padding:1rem 1.1rem;margin:.75rem 0}
.row{display:flex;flex-wrap:wrap;gap:.6rem 1rem;align-items:center;justify-content:space-between}
.acts{display:flex;flex-wrap:wrap;gap:.6rem;align-items:center;margin-top:.8rem}
button{font:inherit;font-weight:600;padding:.42rem .95rem;border-radius:8px;border:1px solid var(--act);background:var(--act);color:var(--on);cursor:pointer}
button.plain{background:transparent;color:var(--ink);border-color:var(--line)}button.stop{background:var(--bad);border-color:var(--bad)}
input[type=text],input[type=password]{font:inherit;padding:.42rem .6rem;border-radius:8px;border:1px solid var(--line);background:var(--paper);color:var(--ink);min-width:0;width:100%;max-width:28rem}
input[type=file]{font:inherit;font-size:.875rem;max-width:100%}
label{display:block;margin:.5rem 0}fieldset{border:1px solid var(--line);border-radius:8px;margin:.8rem 0 0;padding:.4rem .8rem .6rem}legend{padding:0 .3rem}
:focus-visible{outline:3px solid var(--good);outline-offset:2px}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:.5rem}
.state{font-weight:600;border:1px solid currentColor;border-radius:999px;padding:.05rem .7rem;white-space:nowrap;font-size:.875rem}
.notice{border-left:4px solid var(--good);padding:.6rem .9rem;background:var(--box);border-radius:0 8px 8px 0;margin:1rem 0}.notice.bad{border-color:var(--bad);color:inherit}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:.6rem 0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.wide{overflow-x:auto}.wide code{white-space:nowrap}table{border-collapse:collapse;width:100%;font-size:.9375rem}td,th{text-align:left;padding:.4rem .9rem .4rem 0;border-bottom:1px solid var(--line);vertical-align:top}th{font-weight:600;color:var(--soft)}
details summary{cursor:pointer;color:var(--soft)}
`
