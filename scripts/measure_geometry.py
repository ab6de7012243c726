"""Capacity, radius, dimension and correlation of one layer, from its moments."""

import json
from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.files import write_text
from manifold_capacity.geometry.draws import combine_draws, draw_seed
from manifold_capacity.geometry.measure import DegenerateManifoldsError, geometry_from_moments
from manifold_capacity.geometry.moments import Moments
from manifold_capacity.models.layers import read_layers
from manifold_capacity.provenance import extended
from manifold_capacity.summary import rows
from manifold_capacity.summary.tables import write_table

with logs.log_to(snakemake.log[0]) as log:
    params, seed, geometries = snakemake.params, snakemake.params.run["seed"], []
    layers = {layer.label: layer for layer in read_layers(Path(snakemake.input.layers))}
    row = params.run | rows.layer_columns(layers[snakemake.wildcards.layer])
    try:
        for draw, file in enumerate(snakemake.input.moments):
            moments, options = Moments.load(Path(file)), {"seed": draw_seed(seed, draw)}
            options |= params.geometry | {"threads": snakemake.threads}
            geometries.append(geometry_from_moments(moments, **options))
        numbers, table = combine_draws(geometries)
        log.info("%s", rows.in_words(numbers))
        row |= {"status": rows.STATUS_OK} | numbers
        for file in snakemake.input.simulated:
            row |= json.loads(Path(file).read_text(encoding="utf-8"))
        manifolds = rows.manifold_table(row, params.classes, table)
    except DegenerateManifoldsError as error:
        log.warning("%s has no geometry: %s", row["layer"], error)
        row |= {"status": str(error), "n_manifolds": moments.n_manifolds}
        manifolds, geometries = rows.manifold_table(row, {}, None), []
    row["provenance"] = extended(moments.provenance, "geometry", code=params.code)
    write_text(snakemake.output.layer, json.dumps(row, indent=1) + "\n")
    centers = rows.centers_table(row, [each.centers_spectrum for each in geometries])
    write_table(manifolds, snakemake.output.manifolds)
    write_table(centers, snakemake.output.centers)
