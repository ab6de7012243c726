"""Capacity of one layer, measured by separating its manifolds: a check of the theory."""

from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.activations.external import open_external_layer
from manifold_capacity.activations.store import open_draw
from manifold_capacity.geometry.manifolds import DegenerateManifoldsError
from manifold_capacity.geometry.simulated import simulated_capacity
from manifold_capacity.provenance import check_keys, write_stamp

with logs.log_to(snakemake.log[0]) as log:
    step, layer = SimpleNamespace(**snakemake.params.step), snakemake.wildcards.layer
    if step.external:
        activations = open_external_layer(layer, step.external, step.seed)
    else:
        activations = open_draw(Path(snakemake.input[0]), layer, 0, step.n_draws)
        recorded = activations.attributes.get("provenance", {})
        check_keys(snakemake.input[0], recorded, step.keys, "activations")
    try:
        found = simulated_capacity(activations, seed=step.seed, threads=snakemake.threads)
        row = {
            "simulated_capacity": found.capacity,
            "simulated_capacity_stderr": found.capacity_stderr,
        }
    except DegenerateManifoldsError as error:
        log.warning("%s has no simulated capacity: %s", layer, error)
        row = {}
    write_stamp(snakemake.output[0], [], step.keys, row=row)
