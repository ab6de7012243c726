"""Gather every layer's results into two tables and the text that ends a run."""

from pathlib import Path

from manifold_capacity.logs import log_to
from manifold_capacity.summary import (
    collect_layers,
    collect_manifolds,
    format_html,
    format_table,
    write_table,
)

with log_to(snakemake.log[0]):
    layers = collect_layers(snakemake.input.layers)
    manifolds = collect_manifolds(snakemake.input.manifolds)
    for table, name in ((layers, "layers"), (manifolds, "manifolds")):
        write_table(table, snakemake.output[name])
        write_table(table, snakemake.output[f"{name}_parquet"])
    Path(snakemake.output.table).write_text(format_table(layers) + "\n", encoding="utf-8")
    Path(snakemake.output.page).write_text(format_html(layers), encoding="utf-8")
