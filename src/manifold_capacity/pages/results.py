"""The report's pages of results: layers and their classes, differences, training."""

from __future__ import annotations

import functools
import html
import math
from collections.abc import Mapping
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from manifold_capacity.figures.curves import views_apart
from manifold_capacity.pages import page
from manifold_capacity.summary.columns import MANIFOLD_IDENTITY, TITLES
from manifold_capacity.summary.rows import EXTERNAL, ORIGINAL, SHUFFLED, STATUS_OK
from manifold_capacity.summary.text import checkpoint_title, split_title, with_intervals

LOG_CHARACTERS = 6_000  # of a longer log, a page shows the end
_MAIN = ("capacity", "radius", "dimension", "center_correlation")
_KEY = ["model", "seed", "checkpoint", "split", "labels", "layer"]
_WHY_STOPPED = {
    "variance": "it reached 10 more than explain 95 % of the variance",
    "rises": "the correlation rose three times in a row",
    "rank": "no directions were left",
}
_GAP_TOLERANCE = 1e-9
_LEAST_RESIDUAL = 0.05  # of a center's norm: below it, the manifold's radius is unreliable


def layers_page(layers: pd.DataFrame, manifolds: pd.DataFrame, logs: Path) -> str:
    """A page of all layers, with the classes of each and the logs of its jobs.

    If the classes and logs of all layers do not fit into `MOST_BYTES`, it has those of each network's
    last checkpoint first, and says so.
    """
    text = "Click a column's name to sort, a layer to see its classes and the logs of its jobs."
    body = page.intro(text, layers, "layers")
    shown = layers.iloc[: page.MOST_ROWS]
    keys = [pd.MultiIndex.from_frame(frame[_KEY]) for frame in (shown, manifolds)]
    places = keys[0].get_indexer(keys[1])  # the layer of each manifold; -1 if it is not shown
    manifolds = manifolds.iloc[np.argsort(places, kind="stable")]
    classes = [page.table_column(manifolds, "class_name") | {"choice": True}]
    main = [TITLES[name][0] for name in _MAIN]
    of_classes = page.number_columns(manifolds, MANIFOLD_IDENTITY)
    classes += [column | {"main": column["label"] in main} for column in of_classes]
    places = np.sort(places)
    checkpoints = shown.groupby(["model", "seed"], sort=False)["checkpoint"]
    earlier = (shown["checkpoint"] != checkpoints.transform("last")).to_numpy(dtype=bool)
    order = np.argsort(earlier, kind="stable")
    rows = shown.to_dict("records")
    whole = {
        "layers": _layer_columns(shown),
        "lines": _lines(shown),
        "modules": [_describe_module(row) for row in rows],
        "trust": [_trust(row) for row in rows],
    }

    def with_details(n: int) -> str:
        detailed = np.isin(np.arange(len(shown)), order[:n])
        kept = np.isin(places, order[:n])
        texts: list[str] = []
        log = functools.cache(lambda path: _log(logs / path, texts))
        left_out = (
            f"This page has room for the classes and logs of {n:,} of {len(shown):,} layers, last "
            f"checkpoints first. All are in summary/manifolds.csv and in the folder {logs.name}."
        )
        data = whole | {
            "classes": [_rows_of(column, kept) for column in classes],
            "starts": np.searchsorted(places[kept], np.arange(len(shown) + 1)).tolist(),
            "detailed": detailed.tolist(),
            "logs": [
                [[name, log(path)] for name, path in _jobs(row, logs).items() if wanted]
                for row, wanted in zip(rows, detailed, strict=True)
            ],
            "texts": texts,
            "left_out": left_out if n < len(shown) else "",
        }
        return page.render("Layers, their classes and logs", body, data)

    return page.largest(with_details, len(shown))


def comparisons_page(comparisons: pd.DataFrame) -> str:
    """A page of differences, layer by layer."""
    shown = comparisons.iloc[: page.MOST_ROWS]
    ends = {
        name: [page.float_values(shown[f"{name}_{end}"]) for end in ("low", "high")]
        for name in ("difference", "simultaneous")
    }
    differences = page.float_values(shown["difference"])
    values, notes = [""] * len(shown), [""] * len(shown)
    for rows in shown.groupby("quantity", sort=False).indices.values():
        of_rows = (end[rows] for end in ends["difference"])
        for row, text, interval in zip(
            rows, *with_intervals(differences[rows], *of_rows), strict=True
        ):
            values[row], notes[row] = text, f" {interval}"
    single, together = ((low > 0) | (high < 0) for low, high in ends.values())
    without = np.where(together, "together too", np.where(single, "alone", "no")).tolist()
    varying = [name for name in page.IDENTITY if name in shown and shown[name].nunique() > 1]
    # What is compared stands beside the difference.
    names = ["layer", "quantity", "comparison", "reference"]
    names += ["value", "reference_value", *varying, "interval_over", "n", "caveats"]
    columns = [page.table_column(shown, name) for name in names]
    columns[1]["texts"] = [text.replace("_", " ") for text in columns[1]["texts"]]
    columns[4:4] = [
        page.titled("difference", values, notes=notes, number=True),
        page.titled("interval without 0", without, number=False),
    ]
    for column in columns:
        column["choice"] = not column["number"] and column["label"] != TITLES["caveats"][0]
    text = "'alone': the layer's own 95 % interval excludes 0, as one in 20 does by chance. 'together too': so does its"
    text += " simultaneous interval, and in 95 of 100 runs none does by chance."
    body = page.intro(text, comparisons, "comparisons")
    return page.render("Differences, layer by layer", body, {"columns": columns})


def training_page(training: pd.DataFrame, logs: Path) -> str:
    """A page of every training, epoch by epoch, with as many logs of its jobs as fit."""
    shown = training.iloc[: page.MOST_ROWS]
    names = ["epoch", *(name for name in ("model", "seed") if shown[name].nunique() > 1)]
    names += [n for n in shown.columns if n not in ("epoch", "model", "seed", "config_digest")]
    columns = [page.table_column(shown, name) for name in names]
    body = page.intro("Click a column's name to sort.", training, "training")
    networks = [*training[["model", "seed"]].drop_duplicates().itertuples(index=False)]

    def with_logs(n: int) -> str:
        texts: list[str] = []
        listed = [
            [f"train {model}, seed {seed}", _log(logs / f"train/{model}/seed-{seed}.log", texts)]
            for model, seed in networks[:n]
        ]
        left_out = (
            f"<p class=warning>This page has room for the logs of {n} of {len(networks)} trainings; "
            f"all are in the folder {html.escape(logs.name)}.</p>\n"
        )
        data = {"columns": columns, "logs": listed, "texts": texts}
        return page.render("Training, epoch by epoch", body + left_out * (n < len(networks)), data)

    return page.largest(with_logs, len(networks))


def _lines(layers: pd.DataFrame) -> list[int]:
    """For each layer, the number of the line that it is a point of in a figure along the layers.

    Further views of the modules have lines of their own, as have the positions of each layer.
    """
    apart = views_apart(layers)
    single = apart["position"].fillna("").astype(str) != ""
    lines = apart.assign(of_positions=apart["layer_name"].where(single, ""))
    return lines.groupby([*_KEY[:-1], "of_positions"], sort=False).ngroup().tolist()


def _layer_columns(layers: pd.DataFrame) -> list[dict[str, Any]]:
    varying = [name for name in page.IDENTITY if layers[name].nunique(dropna=False) > 1]
    identity = {"identity": True, "choice": True}
    columns = [
        page.table_column(layers, name)
        | identity
        | ({"preset": ORIGINAL} if name == "labels" else {})
        for name in ("layer", *varying)
    ]
    names = ["layer_name", "output_shape", "n_features"]
    main = [TITLES[name][0] for name in _MAIN]
    numbers = page.number_columns(layers, [*page.IDENTITY, "layer", *names, "status"])
    numbers = [column | {"main": column["label"] in main} for column in numbers]
    if (layers["status"] != STATUS_OK).any():
        columns.append(page.table_column(layers, "status"))
    return [*columns, *numbers, *(page.table_column(layers, name) for name in names)]


def _rows_of(column: dict[str, Any], kept: Any) -> dict[str, Any]:
    lists = {key: [*compress(column[key], kept)] for key in ("texts", "notes") if key in column}
    return column | lists


def _describe_module(row: Mapping[Any, Any]) -> str:
    network = f"{row['dataset']}: {row['model']}, seed {row['seed']}, {checkpoint_title(row)}"
    module = f"Module {row['layer_name']}, output {row['output_shape']}"
    which = f"{split_title(row['split'])}, {row['labels']} labels"
    return f"{network}, {which}. {module}, {row['n_features']} features."


def _trust(row: Mapping[Any, Any]) -> list[str]:
    """Sentences on whether a layer's numbers are reliable."""
    if row["status"] != STATUS_OK:
        return [f"No geometry: {row['status']}."]
    gap, bad = f"the largest relative duality gap is {row['worst_gap']:.1e}", row["n_unconverged"]
    caveats = str(row["caveats_text"]) if row["caveats"] and not pd.isna(row["caveats"]) else ""
    sentences = [f"Caveats: {caveats}"] if caveats else []
    if not bad:
        sentences.append(f"All quadratic programs converged: {gap} (tolerance {_GAP_TOLERANCE:g}).")
    if not pd.isna(row.get("centers_stopped", math.nan)):
        why = _WHY_STOPPED.get(row["centers_stopped"], f"{row['centers_stopped']} (several draws)")
        sentences.append(
            f"K = {row['center_rank']:g}: so many directions that the centers share were projected out; the search "
            f"for their number stopped because {why}."
        )
    left = row.get("centers_least_residual_ratio", math.nan)
    if not pd.isna(left) and left < _LEAST_RESIDUAL:
        center = f"A center keeps only {left:.1%} of its norm"
        sentences.append(f"{center}: that manifold's radius is unreliable.")
    return sentences


def _jobs(row: Mapping[Any, Any], logs: Path) -> dict[str, Path]:
    """The jobs that a layer's numbers depend on, the last one first, and where in `logs` theirs are."""
    network = Path(row["model"], f"seed-{row['seed']}")
    shuffled = "-shuffled" if row["labels"] == SHUFFLED else ""
    store = network / row["checkpoint"] / row["split"]
    run = store.with_name(f"{row['split']}{shuffled}")
    n_draws = 1 if pd.isna(row["n_repeats"]) else int(row["n_repeats"])
    steps = ["measure_geometry", "compute_moments"]
    jobs = {step: Path(step, run, f"{row['layer']}.log") for step in steps}
    for draw in range(2, n_draws + 1):
        log = f"{row['layer']}-draw-{draw}.log"
        jobs[f"compute_moments, draw {draw}"] = Path("compute_moments", run, log)
    if "simulated_capacity" in row and not shuffled:
        jobs["simulate_capacity"] = Path("simulate_capacity", run, f"{row['layer']}.log")
    if row["weights"] != EXTERNAL:
        jobs["extract_activations"] = _extraction_log(logs, str(store), row["layer"])
    if row["weights"] == "trained" and row["epoch"] != 0:
        jobs["train"] = Path("train", f"{network}.log")
    return jobs


def _extraction_log(logs: Path, store: str, layer: str) -> Path:
    """The log of the job that extracted a layer: of all layers of the run, or of a group with this one."""
    whole = Path("extract_activations", f"{store}.log")
    groups = (logs / whole).parent.glob(f"{whole.stem}-layers-*.log")
    found = [path for path in groups if f"\n{layer} " in path.read_text(encoding="utf-8")]
    # After a change of `activations.max_gib` there may be several.
    found.sort(key=lambda path: path.stat().st_mtime_ns)
    return found[-1].relative_to(logs) if found else whole


def _log(path: Path, texts: list[str]) -> int | None:
    """Add a log to the texts and return its index there, or None if there is no such log."""
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if len(text) > LOG_CHARACTERS:
        text = f"(the end; the whole log is {path})\n...{text[-LOG_CHARACTERS:]}"
    texts.append(text)
    return len(texts) - 1
