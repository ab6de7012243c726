"""Train a network by the recipe, or continue a training that was interrupted."""

from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.datasets.sampling import load_split
from manifold_capacity.models.checkpoints import load_metadata
from manifold_capacity.models.device import use_threads
from manifold_capacity.models.preprocess import Preprocess
from manifold_capacity.provenance import check_keys, read_stamp, write_stamp
from manifold_capacity.training.train import train

with logs.log_to(snakemake.log[0]):
    step = SimpleNamespace(**snakemake.params.step)
    # The order of sums depends on their number: never fewer than on a machine with more cores.
    use_threads(max(step.torch_threads, snakemake.threads))
    dataset = Path(snakemake.input.dataset)
    about = read_stamp(dataset, step.keys, "dataset")
    initial = Path(snakemake.input.initial)
    *checkpoints, metrics, stamp = map(Path, snakemake.output)
    metadata = load_metadata(initial)
    initial_made = {"initial_weights": metadata["provenance"]["weights"]}
    check_keys(initial, initial_made, step.keys, "initial_weights")
    train(
        initial,
        load_split(dataset.parent, "train"),
        load_split(dataset.parent, "test"),
        recipe=step.recipe,
        seed=step.seed,
        preprocess=Preprocess.for_checkpoint(metadata, step.normalize, about),
        checkpoints=dict(zip(step.checkpoints, checkpoints, strict=True)),
        metrics=metrics,
        # Beside the outputs, not among them: Snakemake deletes the outputs of a job that fails.
        resume=metrics.parent / "resume",
        device=snakemake.resources.device,
        factory=step.factory,
        key=step.keys["weights"],
    )
    write_stamp(stamp, [metrics], step.keys)
