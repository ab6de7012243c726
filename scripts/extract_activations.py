"""Run the sampled images through a network and store what comes out of the chosen layers."""

import json
from pathlib import Path

import torch

from manifold_capacity.activations import extract
from manifold_capacity.augment import Preprocess
from manifold_capacity.datasets import load_split, sample_manifolds
from manifold_capacity.downloads import file_sha256
from manifold_capacity.files import whole
from manifold_capacity.layers import read_layers, select_layers
from manifold_capacity.logs import log_to
from manifold_capacity.models import load_model

with log_to(snakemake.log[0]), whole(snakemake.output[0]) as output:
    torch.set_num_threads(snakemake.threads)
    files, params, split = snakemake.input, snakemake.params, snakemake.wildcards.split
    dataset, weights = Path(files.dataset), Path(files.weights)
    images, labels = load_split(dataset.parent, split)
    model, metadata = load_model(weights)
    preprocess = Preprocess.for_checkpoint(metadata, params.normalize, dataset)
    extract(
        model,
        select_layers(read_layers(Path(files.layers)), params.layers),
        images,
        sample_manifolds(labels, split=split, seed=params.seed, **params.sample),
        output,
        preprocess=preprocess,
        split=split,
        seed=params.seed,
        device=snakemake.resources.device,
        **params.options,
        attributes={
            "model": params.model,
            "checkpoint": file_sha256(weights),
            "dataset": json.loads(dataset.read_text())["digest"],
        },
    )
