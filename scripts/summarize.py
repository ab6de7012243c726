"""Gather the results of all layers into tables, and into the text shown at the end of a run."""

import json

from manifold_capacity import logs
from manifold_capacity.files import write_text
from manifold_capacity.provenance import collect_provenance, stamp
from manifold_capacity.summary.collect import collect_centers, collect_layers, collect_manifolds
from manifold_capacity.summary.tables import write_table
from manifold_capacity.summary.text import format_table

with logs.log_to(snakemake.log[0]):
    params, output = snakemake.params, snakemake.output
    provenance = collect_provenance(snakemake.input.layers, params.config)
    provenance["made_with"]["summary"] = [stamp("summary", code=params.code)]
    digest = provenance["config_digest"]
    layers = collect_layers(snakemake.input.layers, config_digest=digest)
    manifolds = collect_manifolds(snakemake.input.manifolds, config_digest=digest)
    for table, name in ((layers, "layers"), (manifolds, "manifolds")):
        write_table(table, output[name])
        write_table(table, output[f"{name}_parquet"])
    centers = collect_centers(snakemake.input.centers, config_digest=digest)
    write_table(centers, output.centers)
    write_text(output.table, format_table(layers) + "\n")
    write_text(output.provenance, json.dumps(provenance, indent=1, ensure_ascii=False) + "\n")
