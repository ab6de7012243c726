"""Run the sampled images through a network and store the outputs of the chosen layers."""

from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.activations.extract import extract
from manifold_capacity.datasets.sampling import load_split, sample_manifolds
from manifold_capacity.files import atomic_path, file_sha256
from manifold_capacity.models.checkpoints import load_model
from manifold_capacity.models.device import device_name, resolve_device, use_threads
from manifold_capacity.models.preprocess import Preprocess
from manifold_capacity.models.selection import read_selected
from manifold_capacity.provenance import check_keys, check_stamped, extended, read_stamp

with logs.log_to(snakemake.log[0]), atomic_path(snakemake.output[0]) as output:
    files, step = snakemake.input, SimpleNamespace(**snakemake.params.step)
    device = resolve_device(snakemake.resources.device)
    threads = use_threads(max(step.torch_threads, snakemake.threads))
    drawn = {"split": step.split, "seed": step.seed}
    dataset = read_stamp(files.dataset, step.keys, "dataset")
    images, labels = load_split(Path(files.dataset).parent, step.split)
    model, metadata = load_model(Path(files.weights), step.model["factory"])
    check_keys(files.weights, metadata["provenance"], step.keys, "weights")
    layers = check_stamped(files.layers, files.stamp, step.keys, "layers")
    origin = {"dataset": dataset["digest"], "checkpoint": file_sha256(Path(files.weights))}
    earlier = {"dataset": {"digest": dataset["digest"], "key": dataset["keys"]["dataset"]}}
    computed = {"device": device_name(device), "torch_threads": threads}
    provenance = extended(earlier | metadata["provenance"], "activations", step, **computed)
    extract(
        model,
        read_selected(layers, step.layers),
        images,
        sample_manifolds(labels, **drawn, **step.sample),
        output,
        part=snakemake.wildcards.part,
        preprocess=Preprocess.for_checkpoint(metadata, step.normalize, dataset),
        **(drawn | step.options | {"device": device.type}),
        attributes={"model": step.model, **origin, "provenance": provenance},
    )
