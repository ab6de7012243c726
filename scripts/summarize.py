"""Gather every layer's results into two tables and the text that ends a run."""

from pathlib import Path

from manifold_capacity.logs import log_to
from manifold_capacity.summary import collect_layers, collect_manifolds, format_html, format_table

with log_to(snakemake.log[0]):
    layers = collect_layers(snakemake.input.layers)
    layers.to_csv(snakemake.output.layers, index=False)
    collect_manifolds(snakemake.input.manifolds).to_csv(snakemake.output.manifolds, index=False)
    Path(snakemake.output.table).write_text(format_table(layers) + "\n", encoding="utf-8")
    Path(snakemake.output.page).write_text(format_html(layers), encoding="utf-8")
