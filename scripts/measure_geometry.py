"""Capacity, radius, dimension and correlation of one layer, from its moments."""

import json
from pathlib import Path

import pandas as pd

from manifold_capacity.files import whole
from manifold_capacity.geometry import DegenerateManifoldsError, geometry_from_moments
from manifold_capacity.layers import read_layers
from manifold_capacity.logs import log_to
from manifold_capacity.moments import Moments
from manifold_capacity.provenance import extended
from manifold_capacity.rows import STATUS_OK, layer_columns, manifold_table

with log_to(snakemake.log[0]) as log:
    params = snakemake.params
    layers = {layer.label: layer for layer in read_layers(Path(snakemake.input.layers))}
    layer = layers[snakemake.wildcards.layer]
    row = params.run | layer_columns(layer)
    moments = Moments.load(Path(snakemake.input.moments))
    try:
        geometry = geometry_from_moments(
            moments, seed=params.run["seed"], threads=snakemake.threads, **params.geometry
        )
        row |= {"status": STATUS_OK} | geometry.summary()
        for file in snakemake.input.simulated:
            row |= json.loads(Path(file).read_text(encoding="utf-8"))
        manifolds = manifold_table(row, params.classes, geometry.to_frame())
    except DegenerateManifoldsError as error:
        log.warning("%s has no geometry: %s", layer.label, error)
        row |= {"status": str(error), "n_manifolds": moments.n_manifolds}
        manifolds = manifold_table(row, {}, pd.DataFrame())
    row["provenance"] = extended(moments.provenance, "geometry", code=params.code)
    with whole(snakemake.output.layer) as file:
        file.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    with whole(snakemake.output.manifolds) as file:
        manifolds.to_csv(file, index=False)
