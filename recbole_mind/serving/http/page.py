"""The service's page: a history goes in, its interests and what each recalls are seen. One file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re

from recbole_mind.report.html import document
from recbole_mind.serving.http.script import SCRIPT

# Okabe and Ito's colours, which colour-blind readers tell apart; each interest has its number beside it
_STYLE = """\
:root { --k0: #0072b2; --k1: #d55e00; --k2: #009e73; --k3: #b8568f; --k4: #b97f00; --k5: #3a9bd1; --k6: #6b5bc2;
  --k7: #7a7f2a; --focus: #1463b8; }
@media (prefers-color-scheme: dark) {
  :root { --k0: #4aa3ea; --k1: #f0803c; --k2: #1fc796; --k3: #e29cc4; --k4: #f0b429; --k5: #9bd8f7; --k6: #a79af0;
    --k7: #c3c96a; --focus: #8cc0ff; } }
[hidden] { display: none !important; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
h2 { margin-top: 2rem; } h3 { font-size: 1rem; margin: 0; }
button, input, select { font: inherit; color: inherit; background: var(--page); border: 1px solid var(--base);
  border-radius: 6px; padding: .4rem .65rem; min-height: 2.5rem; }
button { cursor: pointer; background: var(--tint); } button:hover { border-color: var(--text); }
input[type=checkbox] { min-height: 0; width: 1.1rem; height: 1.1rem; margin: 0; accent-color: var(--bar); }
.ask { display: grid; gap: .75rem; padding: 1rem; border: 1px solid var(--line); border-radius: 8px; }
.ask label, .small { font-size: .875rem; color: var(--soft); } .small { margin: 0; }
.combo { position: relative; } .combo input { width: 100%; margin-top: .2rem; }
.combo ul { position: absolute; z-index: 1; left: 0; right: 0; margin: .25rem 0 0; padding: .25rem; list-style: none;
  background: var(--page); border: 1px solid var(--base); border-radius: 8px; box-shadow: 0 6px 20px #0003; }
.combo li { display: flex; justify-content: space-between; gap: 1rem; padding: .5rem .6rem; border-radius: 5px;
  cursor: pointer; overflow-wrap: anywhere; }
.combo li[aria-selected=true], .combo li:hover { background: var(--tint); }
.combo li small { color: var(--soft); white-space: nowrap; }
.chips { display: flex; flex-wrap: wrap; gap: .4rem; margin: 0; padding: 0; list-style: none; }
.chips button { display: inline-flex; gap: .45rem; align-items: center; padding: .25rem .65rem; min-height: 2.25rem;
  text-align: left; overflow-wrap: anywhere; border-radius: 1.2rem; border-color: var(--line); }
.chips .x::after { content: "×"; color: var(--soft); font-size: 1.1rem; line-height: 1; }
.chips .off { border-style: dashed; border-color: var(--base); color: var(--soft); background: none; }
.options { display: flex; flex-wrap: wrap; gap: .75rem 1.25rem; align-items: center; }
.options label { display: inline-flex; gap: .5rem; align-items: center; } .options .end { margin-left: auto; }
#state { min-height: 1.5rem; margin: 1.25rem 0 0; display: flex; flex-wrap: wrap; gap: .5rem 1rem;
  align-items: center; }
#state.bad { color: var(--bad); } #state p { margin: 0; }
[aria-busy=true] { opacity: .55; transition: opacity .15s .15s; }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
.card { border: 1px solid var(--line); border-top: 4px solid var(--c); border-radius: 8px; padding: .75rem; }
.card h4 { margin: .75rem 0 .25rem; font-size: .8rem; font-weight: 600; color: var(--soft); }
.card ol { margin: 0; padding: 0; list-style: none; font-size: .9375rem; }
.card li { display: grid; grid-template-columns: minmax(0, 1fr) 4.5rem 2.9rem; gap: .5rem; align-items: center;
  padding: .14rem 0; }
.card .two li { grid-template-columns: minmax(0, 1fr) auto; }
.name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.figure { text-align: right; font-variant-numeric: tabular-nums; color: var(--soft); font-size: .85rem; }
.bar { height: .6rem; border-radius: 3px; background: var(--tint); overflow: hidden; }
.bar i { display: block; height: 100%; min-width: 1px; background: var(--c); }
.mark { display: inline-flex; align-items: center; gap: .4rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.mark::before { content: ""; width: .8rem; height: .8rem; border-radius: 3px; background: var(--c); }
.merged { columns: 21rem; column-gap: 2rem; margin: 0; padding: 0; list-style: none; }
.merged li { break-inside: avoid; display: grid; grid-template-columns: 2.2rem minmax(0, 1fr) auto 2.6rem; gap: .6rem;
  align-items: center; padding: .28rem 0; border-bottom: 1px solid var(--line); }
.merged .mark { justify-self: end; }
.merged.plain li { grid-template-columns: 2.2rem minmax(0, 1fr) auto; }
"""

_BODY = """\
<p class="statement"><span id="about">Which interests a history holds, and what each of them recalls.</span>
<a href="docs">How to ask by program</a></p>
<form class="ask" id="key" hidden><label for="secret">This service asks for its key</label>
<input id="secret" type="password" autocomplete="off"><button>Use the key</button></form>
<section class="ask" aria-label="History" id="ask">
<div class="combo"><label for="q">Add an item to the history: type a part of it</label>
<input id="q" role="combobox" aria-expanded="false" aria-controls="found" aria-autocomplete="list" autocomplete="off"
  autocapitalize="off" spellcheck="false" placeholder="several at once: with commas between">
<ul id="found" role="listbox" aria-label="Items found" hidden></ul></div>
<p class="small" id="listed">History, oldest first</p>
<ol id="history" class="chips" aria-labelledby="listed"></ol>
<p class="small" id="start">Popular items to start with</p>
<div id="popular" class="chips" role="group" aria-labelledby="start"></div>
<div class="options"><label>Recall <select id="n"><option>10<option selected>20<option>50<option>100</select>
items</label>
<label><input type="checkbox" id="seen" checked> without those of the history</label>
<button type="button" id="clear" class="end">Clear</button></div>
</section>
<div id="state" role="status"></div>
<main id="results" hidden>
<section id="parts"><h2>Interests</h2>
<p class="read">How much of an interest each item of the history makes, and what it would recall by itself.</p>
<div class="cards" id="interests"></div></section>
<section><h2 id="heading">Recalled</h2>
<p class="read" id="how"></p>
<ol class="merged" id="merged" aria-labelledby="heading"></ol></section>
</main>
"""


def policy(page: str) -> str:
    """A content security policy under which the page's own style and script run, and nothing else."""

    def hashes(tag: str) -> str:
        parts = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.S)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(p.encode()).digest()).decode()}'" for p in parts)

    style, script = hashes("style"), hashes("script")
    allowed = f"style-src {style}; " + (f"script-src {script}; connect-src 'self'; " if script else "")
    return f"default-src 'none'; {allowed}base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


_TEXT = document("Recall", f"{_BODY}<script>{SCRIPT}</script>\n", _STYLE)
PAGE, PAGE_POLICY = _TEXT.encode(), policy(_TEXT)
