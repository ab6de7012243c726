"""Draw one figure of a run from a table, as SVG and PNG, and write the values that it shows."""

from pathlib import Path

from manifold_capacity import figures
from manifold_capacity.logs import log_to
from manifold_capacity.summary import read_table

with log_to(snakemake.log[0]):
    name, table = snakemake.params.figure, read_table(snakemake.input[0])
    figures.save(getattr(figures, name)(table), Path(snakemake.output[0]).with_suffix(""))
    figures.plotted_values(name, table).to_csv(snakemake.output.values, index=False)
