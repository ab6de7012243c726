"""Second moments of one layer's activations, in one streaming pass."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.activations.external import open_external_layer
from manifold_capacity.activations.store import open_draw
from manifold_capacity.geometry.moments import moments_from_arrays
from manifold_capacity.provenance import check_keys, extended

with logs.log_to(snakemake.log[0]) as log:
    step = SimpleNamespace(**snakemake.params.step)
    if step.external:
        earlier = {}
        activations = open_external_layer(step.layer, step.external, step.seed, step.draw)
    else:
        activations = open_draw(Path(snakemake.input[0]), step.layer, step.draw, step.n_draws)
        earlier = activations.attributes.get("provenance", {})
        check_keys(snakemake.input[0], earlier, step.keys, "activations")
    provenance = extended(earlier, "moments", step)
    moments = moments_from_arrays(activations, shuffle=step.shuffle)
    moments = replace(moments, provenance=provenance)
    moments.save(Path(snakemake.output[0]))
    log.info("%d manifolds, %s features", moments.n_manifolds, f"{moments.n_features:,}")
