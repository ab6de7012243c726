"""Pretrained weights of a network, checked against its architecture."""

from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.models.checkpoints import save_state
from manifold_capacity.models.weights import (
    network_options,
    pretrained_normalization,
    pretrained_state,
)
from manifold_capacity.provenance import extended

with logs.log_to(snakemake.log[0]):
    step = SimpleNamespace(**snakemake.params.step)
    network = network_options(step.model, **step.images)
    file = step.model["weights_file"]
    state = pretrained_state(
        network["name"], Path(file) if file else None, image_shape=network["image_shape"]
    )
    provenance = extended({}, "weights", step)
    metadata = {"network": network, "weights": "pretrained", "epoch": None}
    metadata |= {"provenance": provenance}
    if not file:
        metadata["normalization"] = pretrained_normalization(network["name"])
    save_state(state, Path(snakemake.output[0]), metadata)
