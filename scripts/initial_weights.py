"""Weights of an untrained network, drawn from its seed."""

from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.models.checkpoints import save_state
from manifold_capacity.models.weights import initial_state, network_options
from manifold_capacity.provenance import extended

with logs.log_to(snakemake.log[0]) as log:
    step = SimpleNamespace(**snakemake.params.step)
    network = network_options(step.model, **step.images)
    state = initial_state(**network, seed=step.seed)
    provenance = extended({}, "weights", step)
    metadata = {"network": network, "seed": step.seed, "epoch": 0, "provenance": provenance}
    save_state(state, Path(snakemake.output[0]), metadata)
    n_values = sum(tensor.numel() for tensor in state.values())
    log.info("%s weights in %d tensors, seed %d", f"{n_values:,}", len(state), step.seed)
