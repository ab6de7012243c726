"""Second moments of one layer's activations, in one streaming pass."""

from dataclasses import replace
from pathlib import Path

from manifold_capacity.logs import log_to
from manifold_capacity.moments import moments_from_arrays
from manifold_capacity.own_activations import open_own_layer
from manifold_capacity.provenance import extended
from manifold_capacity.store import open_layer

with log_to(snakemake.log[0]):
    params = snakemake.params
    if params.own:
        activations, earlier = open_own_layer(params.layer, params.own, params.seed), {}
    else:
        activations = open_layer(Path(snakemake.input[0]), params.layer)
        earlier = activations.attributes.get("provenance", {})
    provenance = extended(earlier, "moments", code=params.code)
    moments = replace(moments_from_arrays(activations), provenance=provenance)
    moments.save(Path(snakemake.output[0]))
