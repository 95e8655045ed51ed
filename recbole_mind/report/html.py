"""What every page of ours shares: one file that loads nothing, light or dark as the reader has it, down to a phone."""

from __future__ import annotations

from html import escape

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1c2430; --soft: #5b6675; --line: #dde2e8; --tint: #f3f5f8;
  --bar: #4a7fc1; --base: #a9b2bd; --good: #18794e; --bad: #c0362c; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14181e; --text: #e6eaf0; --soft: #9aa6b4; --line: #303843; --tint: #1c222a;
    --bar: #6ea0dd; --base: #5d6875; --good: #4cc38a; --bad: #ff8b7e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 76rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 3rem 0 .25rem; overflow-wrap: anywhere; }
a { color: var(--bar); }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
.statement { margin: 0 0 1rem; color: var(--soft); overflow-wrap: anywhere; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .75rem; text-align: right; white-space: nowrap; vertical-align: top; }
thead th { font-weight: 600; font-size: .875rem; background: var(--tint); border-bottom: 1px solid var(--line); }
tbody tr + tr > * { border-top: 1px solid var(--line); }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--page); font-weight: 500;
  min-width: 7rem; max-width: 14rem; white-space: normal; overflow-wrap: break-word; }
thead th:first-child { background: var(--tint); }
td small, th small { display: block; color: var(--soft); font-size: .78rem; font-weight: 400; }
td b { font-weight: 700; }
.notes, .read { margin: .75rem 0; font-size: .875rem; overflow-wrap: anywhere; }
.notes { padding-left: 1.1rem; }
.read { color: var(--soft); max-width: 60rem; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
figure { margin: 0; padding: .75rem .75rem .5rem; border: 1px solid var(--line); border-radius: 8px; }
figcaption { font-size: .875rem; font-weight: 600; margin-bottom: .35rem; }
svg { display: block; width: 100%; height: auto; }
@media (max-width: 40rem) { th, td { padding: .4rem .55rem; } th:first-child { min-width: 6rem; max-width: 9rem; } }
"""


def document(title: str, body: str, style: str = "") -> str:
    """A whole page around ``body``, with ``style`` after the common one; of the three only the title is escaped."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}</body>\n</html>\n"
    )
