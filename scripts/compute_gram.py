"""Inner products of all points of one layer, in one streaming pass."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.activations.external import open_external_layer
from manifold_capacity.activations.store import open_draw
from manifold_capacity.geometry.gram import gram_from_arrays
from manifold_capacity.provenance import check_keys, extended

with logs.log_to(snakemake.log[0]) as log:
    step, earlier = SimpleNamespace(**snakemake.params.step), {}
    if step.external:
        activations = open_external_layer(step.layer, step.external, step.seed, step.draw)
    else:
        activations = open_draw(Path(snakemake.input[0]), step.layer, step.draw, step.n_draws)
        earlier = activations.attributes.get("provenance", {})
        check_keys(snakemake.input[0], earlier, step.keys, "activations")
    provenance = extended(earlier, "gram", step)
    gram = replace(gram_from_arrays(activations, threads=snakemake.threads), provenance=provenance)
    gram.save(Path(snakemake.output[0]))
    log.info("%s points, %s features", f"{len(gram.matrix):,}", f"{gram.n_features:,}")
