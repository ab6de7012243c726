"""Capacity, radius, dimension and correlation of one layer, from its moments."""

from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs, provenance
from manifold_capacity.geometry.draws import combine_columns, draw_seed
from manifold_capacity.geometry.measure import DegenerateManifoldsError, geometry_from_moments
from manifold_capacity.geometry.moments import Moments
from manifold_capacity.models.selection import read_selected
from manifold_capacity.summary import rows

with logs.log_to(snakemake.log[0]) as log:
    files, step, draws, curve = snakemake.input, SimpleNamespace(**snakemake.params.step), [], {}
    known = provenance.check_stamped(files.layers, files.stamp, step.keys, "layers")
    (layer,) = read_selected(known, step.layers, snakemake.wildcards.layer)
    row = step.run | step.group | rows.layer_columns(layer)
    try:
        for draw, file in enumerate(files.moments):
            moments = Moments.load(Path(file))
            provenance.check_keys(file, moments.provenance, step.keys, "moments")
            options = {"seed": draw_seed(row["seed"], draw), "threads": snakemake.threads}
            draws.append(geometry_from_moments(moments, **step.geometry, **options))
        numbers, table = combine_columns(draws, disjoint=step.disjoint)
        row |= {"status": rows.STATUS_OK} | numbers | rows.projected(layer, moments.n_features)
        for kind, file in [(k, file) for k in ("simulated", "glue") for file in files[k]]:
            found = provenance.read_stamp(file, step.keys, kind)
            (row, table), curve = rows.joined(row, table, found), found.get("curve", {})
        log.info("%s", rows.in_words(row))
    except DegenerateManifoldsError as error:
        log.warning("%s has no geometry: %s", row["layer"], error)
        row |= {"status": str(error), "n_manifolds": moments.n_manifolds}
        table, draws = None, []
    stamp, *tables = snakemake.output
    made = rows.layer_tables(row, step.classes, table, draws, curve)
    for columns, path in zip(made, tables, strict=False):
        rows.write_columns(columns, path)
    row["provenance"] = provenance.extended(moments.provenance, "geometry", step)
    provenance.write_stamp(stamp, tables, step.keys, **row)
