"""Gather the loss and accuracy of every training into one table."""

from manifold_capacity import logs
from manifold_capacity.summary.collect import collect_training

with logs.log_to(snakemake.log[0]):
    params = snakemake.params
    training = collect_training(
        snakemake.input, params.trainings, config_digest=params.config_digest
    )
    training.to_csv(snakemake.output[0], index=False)
