"""Write the report's pages: tables that can be sorted, and where the results come from."""

import json
from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.files import write_text
from manifold_capacity.pages import origin, results
from manifold_capacity.summary.tables import read_table

with logs.log_to(snakemake.log[0]):
    params, folder = snakemake.params, Path(snakemake.params.logs)
    files = {name: Path(paths[0]) for name, paths in snakemake.input.items() if paths}
    found = {
        name: read_table(path) if path.suffix == ".csv" else json.loads(path.read_text("utf-8"))
        for name, path in files.items()
    }
    pages = {
        "layers": lambda: results.layers_page(found["layers"], found["manifolds"], folder),
        "comparisons": lambda: results.comparisons_page(found["comparisons"]),
        "training": lambda: results.training_page(found["training"], folder),
        "origin": lambda: origin.origin_page(
            found["provenance"], params.given, found.get("dataset")
        ),
    }
    for name, path in snakemake.output.items():
        write_text(path, pages[name]())
