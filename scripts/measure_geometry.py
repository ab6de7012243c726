"""Capacity, radius, dimension and correlation of one layer, from its moments."""

import json
from pathlib import Path

from manifold_capacity.files import whole
from manifold_capacity.geometry import DegenerateManifoldsError, geometry_from_moments
from manifold_capacity.layers import read_layers
from manifold_capacity.logs import log_to
from manifold_capacity.moments import Moments
from manifold_capacity.provenance import extended
from manifold_capacity.repeats import combine_draws, draw_seed
from manifold_capacity.rows import STATUS_OK, centers_table, in_words, layer_columns, manifold_table

with log_to(snakemake.log[0]) as log:
    params, seed, geometries = snakemake.params, snakemake.params.run["seed"], []
    layers = {layer.label: layer for layer in read_layers(Path(snakemake.input.layers))}
    row = params.run | layer_columns(layers[snakemake.wildcards.layer])
    try:
        for draw, file in enumerate(snakemake.input.moments):
            moments = Moments.load(Path(file))
            options = params.geometry | {"seed": draw_seed(seed, draw)}
            geometries.append(geometry_from_moments(moments, threads=snakemake.threads, **options))
        numbers, table = combine_draws(geometries)
        row |= {"status": STATUS_OK} | numbers
        log.info("%s", in_words(numbers))
        for file in snakemake.input.simulated:
            row |= json.loads(Path(file).read_text(encoding="utf-8"))
        manifolds = manifold_table(row, params.classes, table)
    except DegenerateManifoldsError as error:
        log.warning("%s has no geometry: %s", row["layer"], error)
        row |= {"status": str(error), "n_manifolds": moments.n_manifolds}
        manifolds, geometries = manifold_table(row, {}, None), []
    row["provenance"] = extended(moments.provenance, "geometry", code=params.code)
    with whole(snakemake.output.layer) as file:
        file.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    centers = centers_table(row, [geometry.centers_spectrum for geometry in geometries])
    for table, path in ((manifolds, "manifolds"), (centers, "centers")):
        with whole(snakemake.output[path]) as file:
            table.to_csv(file, index=False)
