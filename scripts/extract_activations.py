"""Run the sampled images through a network and store the outputs of the chosen layers."""

from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.activations.extract import extract
from manifold_capacity.datasets.prepare import dataset_digest
from manifold_capacity.datasets.sampling import load_split, sample_manifolds
from manifold_capacity.files import atomic_path, file_sha256
from manifold_capacity.models.checkpoints import load_model
from manifold_capacity.models.device import device_name, resolve_device, use_threads
from manifold_capacity.models.layers import read_layers, select_layers
from manifold_capacity.models.preprocess import Preprocess
from manifold_capacity.provenance import extended

with logs.log_to(snakemake.log[0]), atomic_path(snakemake.output[0]) as output:
    files, params = snakemake.input, snakemake.params
    device = resolve_device(snakemake.resources.device)
    threads = use_threads(max(params.torch_threads, snakemake.threads))
    dataset, weights = Path(files.dataset), Path(files.weights)
    drawn = {"split": params.split, "seed": params.seed}
    images, labels = load_split(dataset.parent, params.split)
    model, metadata = load_model(weights)
    origin = {"dataset": dataset_digest(dataset), "checkpoint": file_sha256(weights)}
    computed = {"device": device_name(device), "torch_threads": threads}
    earlier = {"dataset": {"digest": origin["dataset"]}} | metadata.get("provenance", {})
    provenance = extended(earlier, "activations", code=params.code, **computed)
    extract(
        model,
        select_layers(read_layers(Path(files.layers)), params.layers),
        images,
        sample_manifolds(labels, **drawn, **params.sample),
        output,
        preprocess=Preprocess.for_checkpoint(metadata, params.normalize, dataset),
        **drawn,
        device=device.type,
        **params.options,
        attributes={"model": params.model, **origin, "provenance": provenance},
    )
