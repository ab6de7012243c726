"""Capacity of one layer, measured by separating its manifolds: a check of the theory."""

import json
from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.activations.external import open_external_layer
from manifold_capacity.activations.store import open_draw
from manifold_capacity.files import write_text
from manifold_capacity.geometry.manifolds import DegenerateManifoldsError
from manifold_capacity.geometry.simulated import simulated_capacity

with logs.log_to(snakemake.log[0]) as log:
    params, layer = snakemake.params, snakemake.wildcards.layer
    if params.external:
        activations = open_external_layer(layer, params.external, params.seed)
    else:
        activations = open_draw(Path(snakemake.input[0]), layer, 0, params.n_draws)
    try:
        found = simulated_capacity(activations, seed=params.seed, threads=snakemake.threads)
        row = {
            "simulated_capacity": found.capacity,
            "simulated_capacity_stderr": found.capacity_stderr,
        }
    except DegenerateManifoldsError as error:
        log.warning("%s has no simulated capacity: %s", layer, error)
        row = {}
    write_text(snakemake.output[0], json.dumps(row) + "\n")
