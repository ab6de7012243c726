"""Weights of an untrained network, drawn from its seed."""

from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.models.checkpoints import save_state
from manifold_capacity.models.weights import initial_state, network_options
from manifold_capacity.provenance import stamp

with logs.log_to(snakemake.log[0]):
    params = snakemake.params
    network = network_options(params.model, **params.images)
    state = initial_state(**network, seed=params.seed)
    provenance = {"weights": stamp("weights", code=params.code)}
    metadata = {"network": network, "seed": params.seed, "epoch": 0, "provenance": provenance}
    save_state(state, Path(snakemake.output[0]), metadata)
