"""Weights from elsewhere: published ones, or a file's, checked against the network's architecture."""

from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.models.checkpoints import save_state
from manifold_capacity.models.weights import (
    first_file,
    network_options,
    pretrained_normalization,
    pretrained_state,
)
from manifold_capacity.provenance import extended

with logs.log_to(snakemake.log[0]) as log:
    step = SimpleNamespace(**snakemake.params.step)
    network = network_options(step.model, **step.images)
    given = first_file(step.model)
    state = pretrained_state(**network, **given)
    provenance = extended({}, "weights", step)
    metadata = {"network": network, "weights": step.model["weights"], "epoch": step.epoch}
    metadata |= {"provenance": provenance}
    if not given and "factory" not in network:
        metadata["normalization"] = pretrained_normalization(network["name"])
    save_state(state, Path(snakemake.output[0]), metadata)
    place = given["weights_file"].name if given else step.model["factory"] or network["name"]
    log.info("weights of %s, %d tensors", place, len(state))
