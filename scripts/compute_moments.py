"""Second moments of one layer's activations, in one streaming pass."""

from pathlib import Path

from manifold_capacity.logs import log_to
from manifold_capacity.moments import moments_from_arrays
from manifold_capacity.own_activations import open_own_layer
from manifold_capacity.store import open_layer

with log_to(snakemake.log[0]):
    params, layer = snakemake.params, snakemake.wildcards.layer
    if params.own:
        activations = open_own_layer(layer, params.own, params.seed)
    else:
        activations = open_layer(Path(snakemake.input[0]), layer)
    moments_from_arrays(activations).save(Path(snakemake.output[0]))
