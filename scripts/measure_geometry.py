"""Capacity, radius, dimension and correlation of one layer, from its moments."""

from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs, provenance
from manifold_capacity.geometry.draws import combine_draws, draw_seed
from manifold_capacity.geometry.measure import DegenerateManifoldsError, geometry_from_moments
from manifold_capacity.geometry.moments import Moments
from manifold_capacity.models.layers import read_layers
from manifold_capacity.summary import rows
from manifold_capacity.summary.tables import write_table

with logs.log_to(snakemake.log[0]) as log:
    files, step, geometries = snakemake.input, SimpleNamespace(**snakemake.params.step), []
    table = provenance.check_stamped(files.layers, files.stamp, step.keys, "layers")
    (layer,) = [row for row in read_layers(table) if row.label == snakemake.wildcards.layer]
    row = step.run | rows.layer_columns(layer)
    try:
        for draw, file in enumerate(files.moments):
            moments, seed = Moments.load(Path(file)), draw_seed(row["seed"], draw)
            provenance.check_keys(file, moments.provenance, step.keys, "moments")
            options = step.geometry | {"seed": seed, "threads": snakemake.threads}
            geometries.append(geometry_from_moments(moments, **options))
        numbers, table = combine_draws(geometries, disjoint=step.disjoint)
        log.info("%s", rows.in_words(numbers))
        row |= {"status": rows.STATUS_OK} | numbers
        for file in files.simulated:
            row |= provenance.read_stamp(file, step.keys, "simulated")["row"]
        manifolds = rows.manifold_table(row, step.classes, table)
    except DegenerateManifoldsError as error:
        log.warning("%s has no geometry: %s", row["layer"], error)
        row |= {"status": str(error), "n_manifolds": moments.n_manifolds}
        manifolds, geometries = rows.manifold_table(row, {}, None), []
    centers = rows.centers_table(row, [each.centers_spectrum for each in geometries])
    stamp, *tables = snakemake.output
    for table, path in zip((manifolds, centers), tables, strict=True):
        write_table(table, path)
    row["provenance"] = provenance.extended(moments.provenance, "geometry", step)
    provenance.write_stamp(stamp, tables, step.keys, **row)
