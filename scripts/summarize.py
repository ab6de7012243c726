"""Gather the results of all layers into tables, and into the text shown at the end of a run."""

import json
from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.files import write_text
from manifold_capacity.provenance import collect_provenance, stamp, write_stamp
from manifold_capacity.summary import collect
from manifold_capacity.summary.tables import write_table
from manifold_capacity.summary.text import format_table

with logs.log_to(snakemake.log[0]):
    files, output = snakemake.input, snakemake.output
    step = SimpleNamespace(**snakemake.params.step)
    kinds = ("manifolds", "centers", "separability")[: 3 if step.glue else 2]
    collect.check_parts(files.layers, [files[kind] for kind in kinds], step.layers)
    provenance = collect_provenance(files.layers, json.loads(step.config))
    provenance["made_with"]["summary"] = [stamp("summary", code=step.code)]
    digest = {"config_digest": provenance["config_digest"]}
    layers = collect.collect_layers(files.layers, **digest)
    manifolds = collect.collect_manifolds(files.manifolds, **digest)
    centers = collect.collect_centers(files.centers, **digest)
    for table, name in ((layers, "layers"), (manifolds, "manifolds")):
        write_table(table, output[name])
        write_table(table, output[f"{name}_parquet"])
    write_table(centers, output.centers)
    if step.glue:
        separability = collect.collect_separability(files.separability, **digest)
        write_table(separability, output.separability)
    write_text(output.table, format_table(layers) + "\n")
    tables = [path for path in output if Path(path) != Path(output.provenance)]
    write_stamp(output.provenance, tables, step.keys, **provenance)
