"""Train a network by the recipe, or go on with a training that was interrupted."""

from pathlib import Path

import torch

from manifold_capacity.augment import Preprocess
from manifold_capacity.datasets import load_split
from manifold_capacity.logs import log_to
from manifold_capacity.models import load_metadata
from manifold_capacity.training import train

with log_to(snakemake.log[0]):
    torch.set_num_threads(snakemake.threads)
    params = snakemake.params
    dataset = Path(snakemake.input.dataset)
    initial = Path(snakemake.input.initial)
    metrics = Path(snakemake.output.metrics)
    train(
        initial,
        load_split(dataset.parent, "train"),
        load_split(dataset.parent, "test"),
        recipe=params.recipe,
        seed=params.seed,
        preprocess=Preprocess.for_checkpoint(load_metadata(initial), params.normalize, dataset),
        checkpoints=dict(
            zip(params.checkpoints, map(Path, snakemake.output.checkpoints), strict=True)
        ),
        metrics=metrics,
        # Beside the outputs, not among them: Snakemake deletes the outputs of a job that fails.
        resume=metrics.parent / "resume",
        device=snakemake.resources.device,
    )
