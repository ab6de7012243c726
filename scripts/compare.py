"""Differences between checkpoints, splits, labels and models, with intervals."""

from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.provenance import check_stamped, write_stamp
from manifold_capacity.summary.comparisons import compare
from manifold_capacity.summary.tables import read_table, write_table

with logs.log_to(snakemake.log[0]):
    files, step = snakemake.input, SimpleNamespace(**snakemake.params.step)
    layers, manifolds = (
        read_table(check_stamped(path, files.stamp, step.keys, "summary"))
        for path in (files.layers, files.manifolds)
    )
    write_table(compare(layers, manifolds), snakemake.output.table)
    write_stamp(snakemake.output.stamp, [snakemake.output.table], step.keys)
