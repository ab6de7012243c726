"""The report's first page: the figure along the layers, and what was found."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence

from manifold_capacity.pages import page
from manifold_capacity.pages.findings import Finding

# What stands between two of these is the beginning of Snakemake's report, too: report/workflow.rst.
MARK = "<!--result-->"
_LEAST_SCALE = 0.75  # of the figure
_STYLE = """
.result { display: flex; flex-wrap: wrap; gap: 0.5rem 1.5rem; align-items: flex-start; font-size: 14px; line-height: 1.45; }
.result .figure { min-width: 0; overflow-x: auto; }
.result .figure img { display: block; max-width: none; width: 100%; margin: 0; }
.result .narrow { display: none; color: #66707a; margin: 0; }
@media (max-width: 720px) { .result .narrow { display: block; } }
.result dl { display: block; flex: 1 1 19rem; max-width: 60rem; margin: 0; }
.result dl > div { border: 0; border-top: 1px solid #e1e5ea; border-radius: 0; padding: 0.4rem 0; }
.result dt { color: inherit; font-weight: 600; margin: 0; }
.result dt span { color: #66707a; font-weight: normal; }
.result dd { font-size: inherit; margin: 0; padding: 0; overflow-wrap: anywhere; }
"""


def result_page(found: Sequence[Finding], figure: str) -> str:
    """The figure along the layers, as SVG, and the findings, as one page that needs no other file."""
    # Lines are short: docutils takes none of more than 10,000 characters.
    image = base64.encodebytes(figure.encode()).decode()
    # Shrunk further, its text could not be read: it scrolls.
    width = 4 / 3 * float(re.findall(r'<svg[^>]* width="([\d.]+)pt"', figure)[0])
    least = _LEAST_SCALE * width
    rows = "\n".join(_row(each) for each in found)
    body = f"""{MARK}
<style>{_STYLE}</style>
<div class="result">
<div class="figure" style="flex: 1 1 {least:.0f}px; max-width: {width:.0f}px" tabindex="0">
<img alt="Geometry along the layers" style="min-width: {least:.0f}px" src="data:image/svg+xml;base64,{image}"></div>
<p class="narrow">The figure scrolls sideways.</p>
<dl>
{rows}
</dl>
</div>
{MARK}
<p>More: <a href="layers.html">layers, their classes and logs</a>, <a href="comparisons.html">differences, layer by layer</a>,
<a href="origin.html">where the numbers come from</a>.</p>"""
    return page.render("What was found", body, None)


def _row(finding: Finding) -> str:
    topic, about = html.escape(finding.topic), html.escape(finding.about)
    lines = "<br>".join(html.escape(line) for line in finding.text.splitlines())
    return f"<div><dt>{topic} <span>{about}</span></dt><dd>{lines}</dd></div>"
