"""Draw one figure of a run from a table, as SVG and PNG."""

from pathlib import Path

from manifold_capacity import figures
from manifold_capacity.logs import log_to
from manifold_capacity.summary import read_table

with log_to(snakemake.log[0]):
    draw = getattr(figures, snakemake.params.figure)
    figures.save(draw(read_table(snakemake.input[0])), Path(snakemake.output[0]).with_suffix(""))
