"""Draw one figure of a run from a table, as SVG and PNG, and write the values that it shows."""

from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.figures.registry import FIGURES
from manifold_capacity.figures.style import save
from manifold_capacity.provenance import check_stamped
from manifold_capacity.summary.tables import read_table, write_table

with logs.log_to(snakemake.log[0]):
    files, step = snakemake.input, SimpleNamespace(**snakemake.params.step)
    *_, made_by, _ = step.keys  # the step before the figure's: its table's
    table = read_table(check_stamped(files.table, files.stamp, step.keys, made_by))
    figure = FIGURES[step.figure]
    save(figure.plot(table), Path(snakemake.output[0]).with_suffix(""))
    write_table(figure.values(table), snakemake.output.values)
