"""How the report looks: light and dark, on screens of any width, and on paper."""

from __future__ import annotations

_LIGHT = """
--ink: #1b1f24; --soft: #57606a; --paper: #ffffff; --panel: #f6f8fa; --line: #d0d7de;
--ours: #c2410c; --s0: #0b62b8; --s1: #0a7f5a; --s2: #8a3ffc; --s3: #9a6700; --s4: #b3246f;
--s5: #35707e; --good: #0a7f5a; --bad: #c01c28; --warn: #fff4d6; --other: #57606a;
"""
_DARK = """
--ink: #e6edf3; --soft: #9aa7b4; --paper: #0f141a; --panel: #171d25; --line: #343d48;
--ours: #ff9a5c; --s0: #6cb6ff; --s1: #4fd1a1; --s2: #c3a1ff; --s3: #e3b341; --s4: #ff8cc3;
--s5: #79c9d8; --good: #4fd1a1; --bad: #ff8080; --warn: #3a2f12; --other: #9aa7b4;
"""

_COLOURS = f"""
:root {{ {_LIGHT} color-scheme: light dark; }}
@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
"""

_SERIES = "\n".join(f".chart .s{number} {{ --c: var(--s{number}); }}" for number in range(6))

_CHART = f"""
.chart {{ font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }}
.chart text {{ fill: var(--ink); stroke: var(--paper); stroke-width: 3; paint-order: stroke;
  stroke-linejoin: round; }}
.chart .tick {{ fill: var(--soft); font-size: 12px; }}
.chart .name {{ fill: var(--soft); font-size: 13px; }}
.chart .panel {{ font-weight: 600; font-size: 15px; }}
.chart line {{ stroke: var(--line); stroke-width: 1; }}
.chart .axis {{ stroke: var(--soft); }}
.chart .grid {{ stroke: var(--line); stroke-dasharray: 2 3; }}
.chart .zero {{ stroke: var(--soft); stroke-width: 1.5; }}
.chart .mark {{ stroke: var(--ours); stroke-dasharray: 5 4; }}
.chart .leader {{ stroke: var(--soft); stroke-width: .7; }}
.chart .row {{ --c: var(--other); }}
.chart .series {{ --c: var(--s0); }}
{_SERIES}
.chart .good {{ --c: var(--good); }}
.chart .bad {{ --c: var(--bad); }}
.chart .ours {{ --c: var(--ours); }}
.chart .ours .label {{ font-weight: 700; fill: var(--ours); }}
.chart .dot {{ fill: var(--c); }}
.chart .whisker {{ stroke: var(--c); stroke-width: 2.5; stroke-linecap: round; }}
.chart .curve {{ fill: none; stroke: var(--c); stroke-width: 1.8; opacity: .75; }}
.chart .published .dot {{ fill: var(--paper); stroke: var(--c); stroke-width: 2; }}
"""

CHART_STYLE = f"{_COLOURS}{_CHART}svg.chart {{ background: var(--paper); }}"
"""For a drawing in a file of its own."""

PAGE_STYLE = f"""{_COLOURS}{_CHART}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 62rem; padding: 1.2rem 1.2rem 4rem; color: var(--ink);
  background: var(--paper); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }}
h1 {{ font-size: 1.8rem; margin: .3rem 0 .6rem; }}
h2 {{ font-size: 1.35rem; margin: 3rem 0 .6rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }}
h3 {{ font-size: 1.06rem; margin: 1.8rem 0 .4rem; }}
a {{ color: var(--s0); }}
p {{ margin: .5rem 0; }}
.first {{ border: 1px solid var(--line); border-left: 6px solid var(--bad);
  background: var(--panel); border-radius: 6px; padding: .5rem 1rem; }}
.first.ahead {{ border-left-color: var(--good); }}
.first h3 {{ margin: .5rem 0 .2rem; }}
.first li {{ margin: .35rem 0; }}
.first ul {{ padding-left: 1.1rem; margin: .4rem 0; }}
.word {{ font-weight: 700; margin-right: .35rem; }}
.behind .word {{ color: var(--bad); }}
.tied .word {{ color: var(--s3); }}
.ahead .word {{ color: var(--good); }}
nav {{ margin: 1.2rem 0; }}
nav ol {{ columns: 2; column-gap: 2rem; margin: .3rem 0; }}
figure {{ margin: 1.2rem 0; padding: .8rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: 6px; }}
figure .draw {{ overflow-x: auto; }}
svg.chart {{ display: block; width: 100%; min-width: 44rem; height: auto; }}
figcaption {{ color: var(--soft); font-size: .92rem; margin-top: .4rem; }}
figcaption b {{ color: var(--ink); }}
code {{ font: .86em ui-monospace, SFMono-Regular, Menlo, monospace; overflow-wrap: anywhere;
  background: var(--panel); padding: .1em .3em; border-radius: 4px; }}
.wide {{ overflow-x: auto; margin: .6rem 0; }}
table {{ border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums;
  white-space: nowrap; }}
th, td {{ text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--line); }}
th {{ color: var(--soft); font-weight: 600; }}
details {{ margin: .8rem 0; }}
summary {{ cursor: pointer; color: var(--s0); }}
.made {{ color: var(--soft); font-size: .85rem; }}
.stale {{ background: var(--warn); border-radius: 6px; padding: .4rem .8rem; font-size: .92rem; }}
.badge {{ font-size: .8rem; border: 1px solid var(--line); border-radius: 9px;
  padding: .05rem .5rem; }}
.badge.here {{ border-color: var(--ours); color: var(--ours); }}
@media (max-width: 40rem) {{ nav ol {{ columns: 1; }} body {{ padding: .8rem .8rem 3rem; }} }}
@media print {{
  :root {{ {_LIGHT} }}
  body {{ max-width: none; font-size: 11pt; }}
  figure, tr, .first {{ break-inside: avoid; }}
  h2, h3 {{ break-after: avoid; }}
  svg.chart {{ min-width: 0; }}
  figure .draw, .wide {{ overflow: visible; }}
  table {{ white-space: normal; font-size: 8.5pt; }}
  nav {{ display: none; }}
  details::details-content {{ content-visibility: visible; block-size: auto; }}
}}
"""
