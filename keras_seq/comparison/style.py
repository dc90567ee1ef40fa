"""The style of the page of a report: light, dark and print, from a phone to a wide screen."""

CSS = """
:root { color-scheme: light dark; --paper: #fdfdfc; --ink: #1b1e25; --muted: #5a616c; --line: #dfe2e6; --soft: #f3f4f5;
  --accent: #00619c; --yes: #00664b; --no: #a63f00; --partly: #6b5900; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181c; --ink: #e6e8eb; --muted: #a0a7b1; --line: #31363e; --soft: #1e2227; --accent: #74bdf0;
    --yes: #5fcca5; --no: #f59a63; --partly: #dfca5a; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 1.75rem; line-height: 1.2; font-weight: 650; letter-spacing: -0.01em; margin: 0.5rem 0 0.75rem; }
h2 { font-size: 1.25rem; line-height: 1.3; font-weight: 650; margin: 3rem 0 0.5rem; padding-top: 0.9rem;
  border-top: 1px solid var(--line); }
p, ul.findings { max-width: 44rem; margin: 0 0 0.9rem; }
.headline { font-size: 1.2rem; line-height: 1.4; color: var(--accent); }
ul.findings { padding-left: 1.1rem; }
ul.findings li { margin: 0.25rem 0; }
a { color: var(--accent); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; padding: 0; margin: 1rem 0 0;
  font-size: 0.9rem; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
pre { margin: 0 0 1rem; padding: 0.6rem 0.8rem; background: var(--soft); border-radius: 6px; overflow-x: auto;
  font: 0.82rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.images { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 29rem), 1fr)); gap: 1.25rem 2rem;
  margin: 1rem 0 1.5rem; align-items: start; }
figure { margin: 0; max-width: 36rem; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; color: var(--ink); }
figure svg text { font-family: inherit !important; }
.scroll { overflow-x: auto; margin: 0.75rem 0 1.5rem; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.875rem; line-height: 1.25rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); padding: 0 0 0.4rem; }
th, td { text-align: left; vertical-align: top; padding: 0.375rem 1.125rem 0.375rem 0;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--muted); font-weight: 550; vertical-align: bottom; border-bottom-color: var(--muted); }
caption span { display: block; position: sticky; left: 0; max-width: min(44rem, calc(100vw - 2rem)); }
tbody th { font-weight: 600; }
table.wide tbody th { white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
.text, .note { display: block; }
.note { color: var(--muted); font-size: 0.93em; font-weight: 400; }
.verdict { display: inline-block; font-weight: 600; white-space: nowrap; }
.verdict.yes { color: var(--yes); } .verdict.no { color: var(--no); } .verdict.partly { color: var(--partly); }
.verdict.open { color: var(--muted); font-weight: 400; }
table.stacked { width: 100%; table-layout: fixed; }
table.stacked tbody th .text { font-weight: 600; }
table.stacked thead th:nth-child(2):nth-last-child(2) { width: 9rem; }
details { margin: 0.75rem 0 1.5rem; }
summary { cursor: pointer; color: var(--accent); }
@media (max-width: 46rem) {
  body { padding-top: 0.75rem; }
  h1 { font-size: 1.45rem; }
  .headline { font-size: 1.08rem; }
  table.stacked, table.stacked tbody, table.stacked caption { display: block; }
  table.stacked thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table.stacked tr { display: grid; grid-template-columns: 1fr 1fr; gap: 0.6rem 1rem; padding: 0.8rem 0;
    border-bottom: 1px solid var(--line); }
  table.stacked tr:has(> :nth-child(3):last-child) { grid-template-columns: 7rem 1fr; }
  table.stacked th, table.stacked td { border: 0; padding: 0; min-width: 0; }
  table.stacked tbody th { grid-column: 1 / -1; }
  table.stacked td::before { content: attr(data-column); display: block; color: var(--muted); font-size: 0.78rem; }
  .scroll tbody th:first-child { position: sticky; left: 0; background: var(--paper); }
  table.stacked tbody th:first-child { position: static; }
}
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --muted: #444; --line: #bbb; --soft: #f3f4f5;
    --accent: #00527f; --yes: #00664b; --no: #a63f00; --partly: #5c4c00; }
  @page { margin: 15mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  h1 { font-size: 18pt; }
  h2 { break-after: avoid; margin-top: 14pt; padding-top: 6pt; font-size: 13pt; }
  .headline { font-size: 12pt; }
  figure, tr, .findings li { break-inside: avoid; }
  .scroll { overflow: visible; }
  .images { grid-template-columns: 1fr 1fr; gap: 1rem; }
  table { font-size: 7.5pt; line-height: 1.3; }
  th, td { padding: 1.5pt 8pt 1.5pt 0; }
  thead, caption { break-after: avoid; }
  pre { white-space: pre-wrap; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  summary { list-style: none; color: var(--muted); }
}
"""
