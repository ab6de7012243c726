"""Write the report's pages: tables that can be sorted, and where the results come from."""

from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.files import read_json, write_text
from manifold_capacity.pages import findings, origin, result, results
from manifold_capacity.provenance import check_stamped, read_stamp
from manifold_capacity.summary.tables import read_table

STAMPS = {"layers": "provenance", "manifolds": "provenance"}

with logs.log_to(snakemake.log[0]):
    folder, step = Path(snakemake.params.logs), SimpleNamespace(**snakemake.params.step)
    files = {name: Path(paths[0]) for name, paths in snakemake.input.items() if paths}
    found = {}
    for name, path in files.items():
        if path.suffix == ".csv":
            stamp = STAMPS.get(name, "stamp")
            made_by = "summary" if stamp == "provenance" else name
            found[name] = read_table(check_stamped(path, files[stamp], step.keys, made_by))
        elif name == "dataset":
            found[name] = read_stamp(path, step.keys, "dataset")
        elif name == "provenance":
            found[name] = read_json(path)
        else:
            found[name] = path.read_text(encoding="utf-8")
    tables = [found.get(name) for name in ("layers", "manifolds", "comparisons")]
    pages = {
        "result": lambda: result.result_page(findings.findings(*tables), found["figure"]),
        "findings": lambda: findings.findings_text(findings.findings(*tables)) + "\n",
        "layers": lambda: results.layers_page(found["layers"], found["manifolds"], folder),
        "comparisons": lambda: results.comparisons_page(found["comparisons"]),
        "training": lambda: results.training_page(found["training"], folder),
        "origin": lambda: origin.origin_page(found["provenance"], step.given, found.get("dataset")),
    }
    for name, path in snakemake.output.items():
        write_text(path, pages[name]())
