"""Gather loss and accuracy of all trained networks into one table."""

from manifold_capacity import logs
from manifold_capacity.summary.collect import collect_training
from manifold_capacity.summary.tables import write_table

with logs.log_to(snakemake.log[0]):
    params = snakemake.params
    training = collect_training(
        snakemake.input, params.trainings, config_digest=params.config_digest
    )
    write_table(training, snakemake.output[0])
