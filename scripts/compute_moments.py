"""Second moments of one layer's activations, in one streaming pass."""

from dataclasses import replace
from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.activations.external import open_external_layer
from manifold_capacity.activations.store import open_draw
from manifold_capacity.geometry.moments import moments_from_arrays
from manifold_capacity.provenance import extended

with logs.log_to(snakemake.log[0]) as log:
    params = snakemake.params
    if params.external:
        earlier = {}
        activations = open_external_layer(params.layer, params.external, params.seed, params.draw)
    else:
        activations = open_draw(Path(snakemake.input[0]), params.layer, params.draw, params.n_draws)
        earlier = activations.attributes.get("provenance", {})
    provenance = extended(earlier, "moments", code=params.code)
    moments = moments_from_arrays(activations, shuffle=params.shuffle)
    moments = replace(moments, provenance=provenance)
    moments.save(Path(snakemake.output[0]))
    log.info("%d manifolds, %s features", moments.n_manifolds, f"{moments.n_features:,}")
