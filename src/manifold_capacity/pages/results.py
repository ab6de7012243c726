"""The report's pages of results: layers, differences, training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from manifold_capacity.pages.origin import describe_module
from manifold_capacity.pages.page import (
    DIGEST,
    IDENTITY,
    MOST_ROWS,
    float_values,
    intro,
    kept_rows,
    largest,
    note_left_out,
    number_columns,
    render_page,
    rows_of_layers,
    table_column,
    titled,
)
from manifold_capacity.summary.columns import MANIFOLD_IDENTITY, TITLES
from manifold_capacity.summary.rows import EXTERNAL, SHUFFLED, STATUS_OK
from manifold_capacity.summary.text import number_text, with_errors

__all__ = ["comparisons_page", "layers_page", "training_page"]


LOG_CHARACTERS = 6_000
"""Of a longer log, a page shows the end."""


_WHY_STOPPED = {
    "variance": "10 more than explain 95 % of the variance were tried",
    "rises": "the correlation rose three times in a row",
    "rank": "there are no more directions",
}


_MAIN = ("capacity", "radius", "dimension", "center_correlation")


_TRUSTED_GAP = 1e-9


_LITTLE_LEFT = 0.05  # of a center's norm: its manifold's radius is unreliable


def layers_page(layers: pd.DataFrame, manifolds: pd.DataFrame, logs: Path) -> str:
    """A page of all layers, and of each layer's classes and what its jobs said.

    Parameters
    ----------
    layers, manifolds : DataFrame
        As `summary.collect_layers` and `summary.collect_manifolds` return them.
    logs : path
        The folder of a run's logs.

    Returns
    -------
    str
        HTML of at most `MOST_BYTES`. Where the classes and logs of all layers don't fit, it has those of
        each network's last checkpoint first, and says so.
    """
    body = intro(
        "Click a column's name to sort, a layer to see its classes and what its jobs said.", layers
    )
    shown = layers.iloc[:MOST_ROWS]
    body += note_left_out(len(layers), "summary/layers.csv")
    places = rows_of_layers(manifolds, shown)
    manifolds = manifolds.iloc[np.argsort(places, kind="stable")]
    places = np.sort(places)  # -1: of a layer that is not shown
    classes = _class_columns(manifolds)
    order = _last_checkpoints_first(shown)
    whole = {
        "layers": _layer_columns(shown),
        "modules": [describe_module(row) for row in shown.to_dict("records")],
        "trust": [_trust(row) for row in shown.to_dict("records")],
    }

    def page(n: int) -> str:
        detailed = np.zeros(len(shown), dtype=bool)
        detailed[order[:n]] = True
        kept = (places >= 0) & detailed[places] if len(shown) else np.zeros(len(places), dtype=bool)
        texts: list[str] = []
        data = whole | {
            "classes": [kept_rows(column, kept) for column in classes],
            "starts": np.searchsorted(places[kept], np.arange(len(shown) + 1)).tolist(),
            "detailed": detailed.tolist(),
            "logs": _logs_of_layers(shown, detailed, logs, texts),
            "texts": texts,
            "left_out": ""
            if n == len(shown)
            else f"There is room here for the classes and logs of {n:,} of {len(shown):,} layers, "
            f"last checkpoints first. All are in summary/manifolds.csv and in the folder {logs.name}.",
        }
        return render_page("Layers, their classes and logs", body, data)

    return largest(page, len(shown))


def comparisons_page(comparisons: pd.DataFrame) -> str:
    """A page of differences, layer by layer.

    Parameters
    ----------
    comparisons : DataFrame
        As `comparisons.compare` returns it.

    Returns
    -------
    str
        HTML of at most `MOST_BYTES`.
    """
    shown = comparisons.iloc[:MOST_ROWS]
    low, high = (float_values(shown[f"difference_{end}"]) for end in ("low", "high"))
    values, notes = [""] * len(shown), [""] * len(shown)
    for rows in shown.groupby("quantity", sort=False).indices.values():
        differences = float_values(shown["difference"])[rows]
        texts, _, decimals = with_errors(differences, (high - low)[rows] / 2)
        for row, text in zip(rows, texts, strict=True):
            values[row] = text
            ends = (number_text(end, decimals) for end in (low[row], high[row]))
            notes[row] = f" [{', '.join(ends)}]" if np.isfinite(high[row]) else ""
    without = ["yes" if end else "no" for end in (low > 0) | (high < 0)]
    first = ["layer", "quantity"]
    what = ["comparison", "reference"]  # beside the difference, or nobody knows what it is of
    rest = ["value", "reference_value"]
    varying = [name for name in IDENTITY if name in shown and shown[name].nunique() > 1]
    columns = [table_column(shown, name) for name in first]
    columns[1]["texts"] = [text.replace("_", " ") for text in columns[1]["texts"]]
    columns += [table_column(shown, name) for name in what]
    columns.append(titled("difference", values, notes=notes, number=True))
    columns.append(titled("interval without 0", without, number=False))
    columns += [table_column(shown, name) for name in [*rest, *varying, "interval_over", "n"]]
    for column in columns:
        column["choice"] = not column["number"]
    body = intro(
        "An interval that leaves out 0 speaks for a difference in that layer. Among many layers, one in 20 does so by chance.",
        comparisons,
    )
    body += note_left_out(len(comparisons), "summary/comparisons.csv")
    return render_page("Differences, layer by layer", body, {"columns": columns})


def training_page(training: pd.DataFrame, logs: Path) -> str:
    """A page of every training, epoch by epoch, and what its job said.

    Parameters
    ----------
    training : DataFrame
        As `summary.collect_training` returns it.
    logs : path
        The folder of a run's logs.

    Returns
    -------
    str
        HTML of at most `MOST_BYTES`.
    """
    shown = training.iloc[:MOST_ROWS]
    names = ["epoch", *(name for name in ("model", "seed") if shown[name].nunique() > 1)]
    names += [n for n in shown.columns if n not in ("epoch", "model", "seed", DIGEST)]
    body = intro("Click a column's name to sort.", training)
    body += note_left_out(len(training), "summary/training.csv")
    networks = [*training[["model", "seed"]].drop_duplicates().itertuples(index=False)]

    columns = [table_column(shown, name) for name in names]

    def page(n: int) -> str:
        texts: list[str] = []
        said = [
            [
                f"train {model}, seed {seed}",
                _log(logs / f"train/{model}/seed-{seed}.log", texts),
            ]
            for model, seed in networks[:n]
        ]
        data = {"columns": columns, "logs": said, "texts": texts}
        some = f"<p class=warning>There is room here for the logs of {n} of {len(networks)} trainings; all are in the folder {logs.name}.</p>\n"
        return render_page(
            "Training, epoch by epoch", body + (some if n < len(networks) else ""), data
        )

    return largest(page, len(networks))


def _layer_columns(layers: pd.DataFrame) -> list[dict[str, Any]]:
    varying = [name for name in IDENTITY if layers[name].nunique(dropna=False) > 1]
    columns = [table_column(layers, name) | {"identity": True} for name in ("layer", *varying)]
    for column in columns:
        column["choice"] = True
    names = ["layer_name", "output_shape", "n_features"]
    numbers = number_columns(layers, [*IDENTITY, "layer", *names, "status"])
    for column in numbers:
        column["main"] = column["label"] in (TITLES[name][0] for name in _MAIN)
    if (layers["status"] != STATUS_OK).any():
        columns.append(table_column(layers, "status"))
    return [*columns, *numbers, *(table_column(layers, name) for name in names)]


def _class_columns(manifolds: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        table_column(manifolds, "class_name") | {"choice": True},
        *number_columns(manifolds, MANIFOLD_IDENTITY),
    ]


def _last_checkpoints_first(layers: pd.DataFrame) -> Any:
    """Rows of layers, those of each network's last checkpoint first."""
    networks = layers.groupby(["model", "seed"], sort=False)["checkpoint"]
    earlier = (layers["checkpoint"] != networks.transform("last")).to_numpy(dtype=bool)
    return np.argsort(earlier, kind="stable")


def _trust(row: Mapping[Any, Any]) -> list[str]:
    """Whether a layer's numbers can be trusted, in sentences."""
    if row["status"] != STATUS_OK:
        return [f"No geometry: {row['status']}."]
    gap, bad = f"the largest relative duality gap is {row['worst_gap']:.1e}", row["n_unconverged"]
    said = [
        f"{bad} quadratic programs did not converge: the numbers are not exact; {gap}."
        if bad
        else f"All quadratic programs converged: {gap} ({_TRUSTED_GAP:g} is allowed)."
    ]
    if "centers_converged" in row and not pd.isna(row["centers_converged"]):
        fit = "reached" if str(row["centers_converged"]) == "True" else "did not reach"
        why = _WHY_STOPPED.get(row["centers_stopped"], f"{row['centers_stopped']} (several draws)")
        said.append(
            f"{row['center_rank']:g} directions that the centers share were taken out; the fit {fit} its "
            f"tolerance, and the search for their number ended where {why}."
        )
    left = row.get("centers_least_residual_ratio", math.nan)
    if not pd.isna(left) and left < _LITTLE_LEFT:
        said.append(
            f"A center keeps only {left:.1%} of its norm: that manifold's radius is unreliable."
        )
    return said


def _logs_of_layers(
    layers: pd.DataFrame, detailed: Any, logs: Path, texts: list[str]
) -> list[list[list[Any]]]:
    """For each layer the names of its jobs and the place of what each said among the texts."""
    found: dict[Path, int | None] = {}
    listed: list[list[list[Any]]] = []
    for row, wanted in zip(layers.to_dict("records"), detailed, strict=True):
        jobs = _jobs(row) if wanted else {}
        for path in jobs.values():
            if path not in found:
                found[path] = _log(logs / path, texts)
        listed.append([[name, found[path]] for name, path in jobs.items()])
    return listed


def _jobs(row: Mapping[Any, Any]) -> dict[str, Path]:
    """Rules whose jobs a layer's numbers rest on, the last first, and where their logs are."""
    network = Path(row["model"], f"seed-{row['seed']}")
    shuffled = "-shuffled" if row["labels"] == SHUFFLED else ""
    run = network / row["checkpoint"] / f"{row['split']}{shuffled}"
    jobs = {
        step: Path(step, run, f"{row['layer']}.log")
        for step in ("measure_geometry", "compute_moments")
    }
    n_draws = 1 if pd.isna(row["n_repeats"]) else int(row["n_repeats"])
    for draw in range(2, n_draws + 1):
        jobs[f"compute_moments, draw {draw}"] = Path(
            "compute_moments", run, f"{row['layer']}-draw-{draw}.log"
        )
    if "simulated_capacity" in row and not shuffled:
        jobs["simulate_capacity"] = Path("simulate_capacity", run, f"{row['layer']}.log")
    if row["weights"] == EXTERNAL:
        return jobs
    store = network / row["checkpoint"] / f"{row['split']}.log"
    jobs["extract_activations"] = Path("extract_activations", store)
    if row["weights"] == "trained" and row["epoch"] != 0:
        jobs["train"] = Path("train", f"{network}.log")
    return jobs


def _log(path: Path, texts: list[str]) -> int | None:
    """Add what a log says to the texts and return its place there, None if there is no such log."""
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if len(text) > LOG_CHARACTERS:
        text = f"(the end; all of it is in {path})\n...{text[-LOG_CHARACTERS:]}"
    texts.append(text)
    return len(texts) - 1
