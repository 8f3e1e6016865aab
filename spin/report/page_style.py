"""The style sheet of report.html: light and dark, wide and narrow, on screen and on paper."""

from __future__ import annotations

CSS = """
:root { color-scheme: light dark;
  --paper: #fbfbfa; --card: #ffffff; --ink: #1d2530; --muted: #5d6874; --line: #dde2e8; --grid: #dde2e8;
  --baseline: #8b95a1; --spin: #1769c2; --other: #b4731c;
  --good: #17714a; --good-paper: #e9f5ee; --bad: #b02a30; --bad-paper: #fbecec; --calm-paper: #f0f2f5; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #12161c; --card: #191f27; --ink: #e6eaf0; --muted: #a2adba; --line: #2c3541; --grid: #333d4a;
  --baseline: #8b95a1; --spin: #5aa5f5; --other: #dda24e;
  --good: #62cc95; --good-paper: #14281f; --bad: #f3868a; --bad-paper: #2e191c; --calm-paper: #1f2630; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
.page { max-width: 68rem; margin: 0 auto; padding: 1.25rem 1rem 4rem; }
a { color: var(--spin); }
a:focus-visible, summary:focus-visible, .scroll:focus-visible, pre:focus-visible {
  outline: 3px solid var(--spin); outline-offset: 2px; border-radius: 3px; }
.top { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .25rem 1.5rem;
  color: var(--muted); font-size: .9rem; }
.top p { margin: 0; overflow-wrap: anywhere; }
.top nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
.top nav a { text-decoration: none; padding: .15rem 0; }
.top nav a:hover { text-decoration: underline; }
.answer { display: flex; flex-wrap: wrap; gap: .5rem 2rem; align-items: center; margin: 1rem 0 1.25rem; padding: 1.5rem 1.75rem;
  border-radius: 12px; border-left: 6px solid var(--muted); background: var(--calm-paper); }
.answer.better { border-color: var(--good); background: var(--good-paper); }
.answer.worse { border-color: var(--bad); background: var(--bad-paper); }
.answer .figure { margin: 0; font-size: clamp(2.6rem, 9vw, 4.2rem); font-weight: 700; line-height: 1.05; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.answer.better .figure { color: var(--good); }
.answer.worse .figure { color: var(--bad); }
.answer .words { flex: 1 1 20rem; min-width: 0; }
.answer h1 { margin: 0 0 .4rem; font-size: clamp(1.2rem, 3.4vw, 1.6rem); line-height: 1.25; text-wrap: balance; }
.answer .words p { margin: 0; color: var(--muted); font-size: .95rem; }
.cards { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .75rem;
  margin: 0 0 2rem; padding: 0; list-style: none; }
@media (max-width: 52rem) { .cards { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
.cards li { padding: .85rem 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.cards .name { display: block; color: var(--muted); font-size: .85rem; }
.cards .values { display: block; margin: .1rem 0; font-size: 1.25rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.cards .values .from { color: var(--muted); font-weight: 400; }
.cards .change { font-size: .85rem; }
section { margin-top: 2.5rem; }
h2 { margin: 0 0 .75rem; padding-top: .5rem; font-size: 1.3rem; border-top: 1px solid var(--line); }
h3 { margin: 0 0 .25rem; font-size: 1rem; }
.better-text { color: var(--good); } .worse-text { color: var(--bad); }
.scroll { overflow-x: auto; margin: .5rem 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; padding: .7rem .8rem .2rem; font-weight: 600; }
th, td { padding: .45rem .8rem; text-align: left; vertical-align: baseline; border-top: 1px solid var(--line); }
thead th { color: var(--muted); font-weight: 500; font-size: .82rem; border-top: 0; white-space: nowrap; }
tbody th { font-weight: 500; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody td { white-space: nowrap; }
tbody td.prose { white-space: normal; min-width: 17rem; color: var(--muted); }
.note { margin: .25rem 0 1.25rem; color: var(--muted); font-size: .85rem; max-width: 46rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1rem; margin: 1rem 0; }
.pictures.small { grid-template-columns: repeat(auto-fit, minmax(min(100%, 18.5rem), 1fr)); }
.pictures.wide { grid-template-columns: minmax(0, 46rem); }
figure { margin: 0; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; margin: .4rem 0 .2rem; }
figcaption p { margin: 0; color: var(--muted); font-size: .85rem; }
.hidden { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap; }
.example { margin: 0 0 1rem; padding: .9rem 1rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.example header { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1.5rem;
  color: var(--muted); font-size: .85rem; }
.example header strong { color: var(--ink); }
.gloss { display: flex; flex-wrap: wrap; gap: .5rem .15rem; margin: .6rem 0 0; padding: 0; font-size: .9rem; }
.gloss > span { display: grid; grid-auto-rows: 1.55em; padding: 0 .3em; }
.gloss .labels { color: var(--muted); font-size: .85em; padding-left: 0; grid-auto-rows: 1.824em; }
.gloss span span { white-space: nowrap; }
.gloss .reference { font-weight: 600; }
.gloss .wrong, .gloss .added, .gloss .missing { color: var(--bad); background: var(--bad-paper); border-radius: 3px;
  padding: 0 .2em; margin: 0 -.2em; }
.gloss .wrong { text-decoration: underline wavy 1px; text-underline-offset: 3px; }
dl.making { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .3rem 1.25rem;
  margin: .5rem 0 1.25rem; font-size: .9rem; }
dl.making dt { color: var(--muted); } dl.making dd { margin: 0; overflow-wrap: anywhere; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .86em; }
pre { margin: .5rem 0; padding: .9rem 1rem; overflow-x: auto;
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
summary { cursor: pointer; color: var(--spin); }
.narrow { max-width: 28rem; }
footer { margin-top: 3rem; color: var(--muted); font-size: .8rem; }
@media (max-width: 30rem) { .answer { padding: 1.1rem 1.15rem; } .cards .values { font-size: 1.05rem; }
  dl.making { grid-template-columns: 1fr; gap: 0; } dl.making dd { margin-bottom: .6rem; }
  .page { padding: 1rem .75rem 3rem; } figure { padding: .75rem; } th, td { padding: .4rem .6rem; } }
@media print { body { background: #fff; } .top nav { display: none; } figure, .example, .scroll { break-inside: avoid; } }
"""
