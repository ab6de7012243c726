"""The tables of columns and of figures in docs/outputs.md, from the package's own lists.

python docs/figures/tables.py docs/outputs.md
"""

from __future__ import annotations

import re
import sys
from itertools import groupby
from pathlib import Path

from manifold_capacity.figures.registry import FIGURES
from manifold_capacity.geometry.caveats import CAVEATS
from manifold_capacity.summary.columns import LAYER_IDENTITY, TABLES

MARKED = re.compile(r"(<!-- table of (\w+)(?:: ([^>]*?))? -->\n).*?(?=<!-- end -->)", re.DOTALL)


def columns(table: str, section: str) -> list[tuple[str, str]]:
    """Names and meanings: those of a section of layers.csv, or of a whole table, without repeating layers.csv."""
    found = TABLES[table]
    if section:
        return [(f"`{c.name}`", c.meaning) for c in found if c.section == section]
    rows = []
    for known, group in groupby(found, lambda column: column.name in LAYER_IDENTITY):
        if known:
            rows.append(
                (", ".join(f"`{c.name}`" for c in group), "As in [layers.csv](#which-layer).")
            )
        else:
            rows += [(f"`{c.name}`", c.meaning) for c in group]
    return rows


def fill(page: str) -> str:
    """The page with the tables between its marks made anew."""

    def table(mark: re.Match[str]) -> str:
        if mark[2] == "figures":
            head, rows = "file", [(f"`{f.name}`", f.shows) for f in FIGURES.values()]
        elif mark[2] == "caveats":
            head, rows = "code", [(f"`{code}`", text) for code, (_, text) in CAVEATS.items()]
        else:
            head, rows = "column", columns(mark[2], mark[3] or "")
        lines = [
            f"| {head} | meaning |",
            "|---|---|",
            *(f"| {name} | {text} |" for name, text in rows),
        ]
        return mark[1] + "\n" + "\n".join(lines) + "\n\n"

    return MARKED.sub(table, page)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(fill(path.read_text(encoding="utf-8")), encoding="utf-8")
