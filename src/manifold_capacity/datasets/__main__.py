"""Update the table of named datasets in a page: `python -m manifold_capacity.datasets docs/datasets.md`."""

import sys
from pathlib import Path

from manifold_capacity.datasets.document import with_table

page = Path(sys.argv[1])
page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
