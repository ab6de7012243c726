"""Train a network by the recipe, or continue a training that was interrupted."""

from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.datasets.sampling import load_split
from manifold_capacity.models.checkpoints import load_metadata
from manifold_capacity.models.device import use_threads
from manifold_capacity.models.preprocess import Preprocess
from manifold_capacity.training.train import train

with logs.log_to(snakemake.log[0]):
    params = snakemake.params
    # The order of sums depends on their number: never fewer than on a machine with more cores.
    use_threads(max(params.torch_threads, snakemake.threads))
    dataset = Path(snakemake.input.dataset)
    initial = Path(snakemake.input.initial)
    *checkpoints, metrics = map(Path, snakemake.output)
    train(
        initial,
        load_split(dataset.parent, "train"),
        load_split(dataset.parent, "test"),
        recipe=params.recipe,
        seed=params.seed,
        preprocess=Preprocess.for_checkpoint(load_metadata(initial), params.normalize, dataset),
        checkpoints=dict(zip(params.checkpoints, checkpoints, strict=True)),
        metrics=metrics,
        # Beside the outputs, not among them: Snakemake deletes the outputs of a job that fails.
        resume=metrics.parent / "resume",
        device=snakemake.resources.device,
    )
