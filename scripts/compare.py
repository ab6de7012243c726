"""Differences between checkpoints, splits, labels and models, with intervals."""

from manifold_capacity import logs
from manifold_capacity.summary.comparisons import compare
from manifold_capacity.summary.tables import read_table, write_table

with logs.log_to(snakemake.log[0]):
    layers, manifolds = (read_table(path) for path in snakemake.input)
    write_table(compare(layers, manifolds), snakemake.output[0])
