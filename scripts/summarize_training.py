"""Gather loss and accuracy of all trained networks into one table."""

from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.provenance import check_stamped, write_stamp
from manifold_capacity.summary.collect import collect_training
from manifold_capacity.summary.tables import write_table

with logs.log_to(snakemake.log[0]):
    files, step = snakemake.input, SimpleNamespace(**snakemake.params.step)
    for path, stamp, key in zip(files.metrics, files.stamps, step.metrics, strict=True):
        check_stamped(path, stamp, {"weights": key}, "weights")
    training = collect_training(files.metrics, step.trainings, config_digest=step.config_digest)
    write_table(training, snakemake.output.table)
    write_stamp(snakemake.output.stamp, [snakemake.output.table], step.keys)
