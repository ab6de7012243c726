"""Draw one figure of a run from a table, as SVG and PNG, and write the values that it shows."""

from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.figures.registry import FIGURES
from manifold_capacity.figures.style import save
from manifold_capacity.summary.tables import read_table, write_table

with logs.log_to(snakemake.log[0]):
    figure, table = FIGURES[snakemake.params.figure], read_table(snakemake.input[0])
    save(figure.plot(table), Path(snakemake.output[0]).with_suffix(""))
    write_table(figure.values(table), snakemake.output.values)
