"""Lay out tables, and where they come from, as pages of the report."""

import json
from pathlib import Path

from manifold_capacity.logs import log_to
from manifold_capacity.pages import origin, results
from manifold_capacity.summary.tables import read_table

with log_to(snakemake.log[0]):
    logs = Path(snakemake.params.logs)
    said = {
        name: [json.loads(Path(path).read_text(encoding="utf-8")) for path in paths]
        for name, paths in snakemake.input.items()
        if name in ("provenance", "dataset")
    }
    tables = {
        name: read_table(paths[0]) for name, paths in snakemake.input.items() if name not in said
    }
    for name, path in snakemake.output.items():
        if name == "layers":
            page = results.layers_page(tables["layers"], tables["manifolds"], logs)
        elif name == "comparisons":
            page = results.comparisons_page(tables["comparisons"])
        elif name == "training":
            page = results.training_page(tables["training"], logs)
        else:
            (provenance,), dataset = said["provenance"], [*said["dataset"], None][0]
            page = origin.origin_page(provenance, snakemake.params.given, dataset)
        Path(path).write_text(page, encoding="utf-8")
