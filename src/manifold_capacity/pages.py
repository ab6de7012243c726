"""Tables as pages of the report: to sort, search and filter, and from a layer to its classes and logs.

A page is one HTML file that needs nothing else. Its numbers are one compressed block of JSON, which
the script in ``pages.html`` unpacks and lays out.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from manifold_capacity.own_activations import EXTERNAL
from manifold_capacity.rows import MANIFOLD_IDENTITY, SHUFFLED, STATUS_OK
from manifold_capacity.summary import (
    checkpoint_title,
    layer_title,
    number_text,
    split_title,
    with_errors,
)

__all__ = [
    "MOST_BYTES",
    "MOST_ROWS",
    "comparisons_page",
    "configuration_text",
    "layers_page",
    "origin_page",
    "training_page",
]

MOST_BYTES = 1_500_000
"""The largest page. Snakemake shows a page of its report in a frame whose address is the page itself, in base64;
Chromium leaves a frame with an address of more than 2 MiB empty."""
MOST_ROWS = 10_000
"""The most rows of a table on a page, so that it stays below `MOST_BYTES`; of classes, as many as there is room for."""
LOG_CHARACTERS = 6_000
"""Of a longer log, a page shows the end."""

_TEMPLATE = Path(__file__).with_name("pages.html")
_DIGITS = 4  # of numbers without an error
_DIGITS_OF = {"worst_gap": 2}
_WHY_STOPPED = {
    "variance": "10 more than explain 95 % of the variance were tried",
    "rises": "the correlation rose three times in a row",
    "rank": "there are no more directions",
}

# Columns of the tables that stand in the pages under another name, with what they mean.
_TITLES = {
    "dataset": ("Dataset", ""),
    "model": ("Model", ""),
    "weights": ("Weights", "Where the weights come from"),
    "seed": ("Seed", ""),
    "checkpoint": ("Checkpoint", ""),
    "split": ("Split", "Whose images make up the manifolds"),
    "labels": ("Labels", "original: manifolds are the classes; shuffled: the control"),
    "layer": ("Layer", "Index and type"),
    "layer_name": ("Module", "Qualified name of the module"),
    "output_shape": ("Output", "Shape of the output for one image"),
    "n_features": ("Features N", "Number of features"),
    "status": ("Status", "Why a layer has no geometry"),
    "n_manifolds": ("Manifolds P", "Number of manifolds"),
    "n_points": ("Points", "Number of points"),
    "margin": ("Margin κ", "Margin of the readout, in units of a center's norm"),
    "n_gaussians": ("Gaussian samples", "per manifold"),
    "n_repeats": ("Draws", "Draws of points and Gaussian samples"),
    "solver": ("Solver", ""),
    "capacity": ("Capacity α", "Manifolds per feature that a linear readout can separate, ± standard error"),
    "radius": ("Radius R", "In units of the norm of a manifold's center, ± standard error"),
    "dimension": ("Dimension D", "Number of directions in which a manifold has that radius, ± standard error"),
    "center_correlation": ("Center correlation ρ", "Mean absolute cosine between centers"),
    "residual_correlation": ("Residual correlation", "The same once the shared structure is taken out"),
    "center_rank": ("Directions out", "Number K of directions of the centers that were taken out"),
    "worst_gap": ("Largest gap", "Largest relative duality gap of the quadratic programs"),
    "n_unconverged": ("Unconverged", "Quadratic programs whose gap exceeds 1e-9"),
    "participation_ratio": ("Participation ratio", "In how many directions a manifold varies"),
    "signal_to_noise": ("Signal to noise", "Norm of a manifold's center over the spread of its points"),
    "simulated_capacity": ("Simulated capacity", "Found by separating random labels, ± standard error"),
    "class_name": ("Class", ""),
    "center_norm": ("Center norm", "In the units of the activations"),
    "projected_center_norm": ("Projected center norm", "Without the shared structure: the radius' unit"),
    "spread": ("Spread", "Root mean square distance of points from their center"),
    "comparison": ("Compared", "What differs"),
    "reference": ("With", "The checkpoint, split, labels or model compared with"),
    "quantity": ("Quantity", ""),
    "difference": ("Difference [95 % interval]", "Value minus reference; bounds of its 95 % interval"),
    "value": ("Value", ""),
    "reference_value": ("Reference value", ""),
    "interval_over": ("Interval over", ""),
    "n": ("n", "Number of seeds or classes"),
    "epoch": ("Epoch", "0 is the network before training"),
    "train_loss": ("Training loss", "Mean cross-entropy in nats, as the images were seen"),
    "test_loss": ("Test loss", "Mean cross-entropy in nats, after the epoch"),
    "train_accuracy": ("Training accuracy", "Share of right answers, as the images were seen"),
    "test_accuracy": ("Test accuracy", "Share of right answers, after the epoch"),
    "learning_rate": ("Learning rate", "Of the epoch's last step"),
}  # fmt: skip
# What tells a table's rows apart, in words: columns only where it differs, and what to choose rows by.
_IDENTITY = ("dataset", "model", "weights", "seed", "checkpoint", "split", "labels")
_KEY = ("model", "seed", "checkpoint", "split", "labels", "layer")
_TEXTS = (*_IDENTITY, "layer", "layer_name", "output_shape", "status", "solver", "class_name")
_WORDS = (*_TEXTS, "comparison", "reference", "quantity", "interval_over", "centers_stopped")
# Said once, above a table, where all rows have the same.
_SETTINGS = ("n_manifolds", "n_points", "margin", "n_gaussians", "n_repeats", "solver")
_MAIN = ("capacity", "radius", "dimension", "center_correlation")
_NOT_SHOWN = ("config_digest", "layer_index", "layer_type", "epoch", "class_index")
_DIGEST = "config_digest"
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
    body = _intro(
        "Click a column's name to sort, a layer to see its classes and what its jobs said.", layers
    )
    shown = layers.iloc[:MOST_ROWS]
    body += _left_out(len(layers), "summary/layers.csv")
    places = _places(manifolds, shown)
    manifolds = manifolds.iloc[np.argsort(places, kind="stable")]
    places = np.sort(places)  # -1: of a layer that is not shown
    classes = _class_columns(manifolds)
    order = _last_checkpoints_first(shown)
    whole = {
        "layers": _layer_columns(shown),
        "modules": [_module(row) for row in shown.to_dict("records")],
        "trust": [_trust(row) for row in shown.to_dict("records")],
    }

    def page(n: int) -> str:
        detailed = np.zeros(len(shown), dtype=bool)
        detailed[order[:n]] = True
        kept = (places >= 0) & detailed[places] if len(shown) else np.zeros(len(places), dtype=bool)
        texts: list[str] = []
        data = whole | {
            "classes": [_only(column, kept) for column in classes],
            "starts": np.searchsorted(places[kept], np.arange(len(shown) + 1)).tolist(),
            "detailed": detailed.tolist(),
            "logs": _logs_of_layers(shown, detailed, logs, texts),
            "texts": texts,
            "left_out": ""
            if n == len(shown)
            else f"There is room here for the classes and logs of {n:,} of {len(shown):,} layers, "
            f"last checkpoints first. All are in summary/manifolds.csv and in the folder {logs.name}.",
        }
        return _page("Layers, their classes and logs", body, data)

    return _largest(page, len(shown))


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
    low, high = (_floats(shown[f"difference_{end}"]) for end in ("low", "high"))
    values, notes = [""] * len(shown), [""] * len(shown)
    for rows in shown.groupby("quantity", sort=False).indices.values():
        differences = _floats(shown["difference"])[rows]
        texts, _, decimals = with_errors(differences, (high - low)[rows] / 2)
        for row, text in zip(rows, texts, strict=True):
            values[row] = text
            ends = (number_text(end, decimals) for end in (low[row], high[row]))
            notes[row] = f" [{', '.join(ends)}]" if np.isfinite(high[row]) else ""
    without = ["yes" if end else "no" for end in (low > 0) | (high < 0)]
    first = ["layer", "quantity"]
    what = ["comparison", "reference"]  # beside the difference, or nobody knows what it is of
    rest = ["value", "reference_value"]
    varying = [name for name in _IDENTITY if name in shown and shown[name].nunique() > 1]
    columns = [_column(shown, name) for name in first]
    columns[1]["texts"] = [text.replace("_", " ") for text in columns[1]["texts"]]
    columns += [_column(shown, name) for name in what]
    columns.append(_titled("difference", values, notes=notes, number=True))
    columns.append(_titled("interval without 0", without, number=False))
    columns += [_column(shown, name) for name in [*rest, *varying, "interval_over", "n"]]
    for column in columns:
        column["choice"] = not column["number"]
    body = _intro(
        "An interval that leaves out 0 speaks for a difference in that layer. Among many layers, one in 20 does so by chance.",
        comparisons,
    )
    body += _left_out(len(comparisons), "summary/comparisons.csv")
    return _page("Differences, layer by layer", body, {"columns": columns})


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
    names += [n for n in shown.columns if n not in ("epoch", "model", "seed", _DIGEST)]
    body = _intro("Click a column's name to sort.", training)
    body += _left_out(len(training), "summary/training.csv")
    networks = [*training[["model", "seed"]].drop_duplicates().itertuples(index=False)]

    columns = [_column(shown, name) for name in names]

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
        return _page("Training, epoch by epoch", body + (some if n < len(networks) else ""), data)

    return _largest(page, len(networks))


def origin_page(
    provenance: Mapping[str, Any],
    given: Collection[str],
    dataset: Mapping[str, Any] | None,
) -> str:
    """A page of where the numbers come from: configuration, dataset, code, packages and devices, step by step.

    Parameters
    ----------
    provenance : mapping
        As `provenance.collect_provenance` returns it, with the step ``summary``.
    given : collection of str
        Keys that the configuration gave itself, as `config.given_keys` names them.
    dataset : mapping or None
        What ``dataset.json`` says; None of activations from elsewhere.

    Returns
    -------
    str
        HTML.
    """
    code = provenance["code"]
    commit = code["commit"] or "not in a git repository"
    facts = {
        "Configuration": f"digest {provenance['config_digest']}, as in the tables",
        "Code": f"version {code['version']}, {commit}",
        "Platform": provenance["platform"],
    }
    parts = [_facts(facts), "<h2>Configuration</h2>", "<p>A line in gray is a default.</p>"]
    lines = configuration_text(provenance["config"], given)
    shown = (
        html.escape(line) if ours else f"<span class=default>{html.escape(line)}</span>"
        for line, ours in lines
    )
    parts.append("<pre>" + "\n".join(shown) + "</pre>")
    parts.append("<h2>Step by step</h2>")
    for step, entries in provenance["made_with"].items():
        parts.append(f"<h3>{html.escape(step.capitalize())}</h3>")
        first = _dataset_facts(dataset) if step == "dataset" and dataset else {}
        parts += [_facts(first | _entry_facts(entry)) for entry in entries]
    return _page("Where the numbers come from", "\n".join(parts), None)


def configuration_text(
    resolved: Mapping[str, Any], given: Collection[str]
) -> list[tuple[str, bool]]:
    """A configuration as lines of YAML, and whether each was given or is a default.

    Parameters
    ----------
    resolved : mapping
        With all defaults.
    given : collection of str
        As of `origin_page`.

    Returns
    -------
    list of (str, bool)
    """
    return [*_yaml_lines(resolved, set(given), "", "")]


def _yaml_lines(
    section: Mapping[str, Any], given: set[str], name: str, indent: str
) -> Iterable[tuple[str, bool]]:
    for key, value in section.items():
        dotted = f"{name}.{key}" if name else key
        ours = dotted in given
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:", ours
            yield from _yaml_lines(value, given, dotted, indent + "  ")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield f"{indent}{key}:", ours
            for place, item in enumerate(value):
                lines = _yaml_lines(item, given, f"{dotted}[{place}]", indent + "    ")
                for number, (line, own) in enumerate(lines):
                    start = f"{indent}  - " if number == 0 else ""
                    yield start + line[len(start) :], own
        else:
            # JSON is YAML.
            yield f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}", ours


def _page(title: str, body: str, data: Mapping[str, Any] | None) -> str:
    packed = ""
    if data is not None:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        packed = base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()
    page = _TEMPLATE.read_text(encoding="utf-8")
    for name, value in (("title", html.escape(title)), ("data", packed), ("body", body)):
        page = page.replace(f"<!--{name}-->", value)
    return page


def _largest(page: Callable[[int], str], n: int) -> str:
    """The page of as many of n parts as fit."""
    made = page(n)
    if (size := len(made.encode())) <= MOST_BYTES:
        return made
    least = len(page(0).encode())
    while n > 0 and size > MOST_BYTES:
        # Parts are about equally large; one fewer at least, if they are not.
        n = max(min(n - 1, int(0.98 * n * (MOST_BYTES - least) / (size - least))), 0)
        made = page(n)
        size = len(made.encode())
    return made


def _intro(text: str, frame: pd.DataFrame) -> str:
    """A line on how to use the table, and what all its rows have in common."""
    same = []
    for name in (*_IDENTITY, *_SETTINGS):
        if name in frame and frame[name].nunique(dropna=False) == 1:
            value = _column(frame.iloc[:1], name)["texts"][0]
            same += [f"{_TITLES[name][0]}: {value}"] if value else []
    common = f"<p class=faint>{html.escape(' · '.join(same))}</p>" if same else ""
    return f"<p>{html.escape(text)}</p>\n{common}\n"


def _left_out(n: int, table: str) -> str:
    if n <= MOST_ROWS:
        return ""
    return f"<p class=warning>The first {MOST_ROWS:,} of {n:,} rows; all are in {table}.</p>\n"


def _titled(
    name: str, texts: Sequence[str], *, notes: Sequence[str] | None = None, number: bool
) -> dict[str, Any]:
    label, about = _TITLES.get(name, (name.replace("_", " ").capitalize(), ""))
    column = {"label": label, "about": about, "number": number, "texts": [*texts]}
    return column if notes is None else column | {"notes": [*notes]}


def _column(frame: pd.DataFrame, name: str) -> dict[str, Any]:
    """One column of a table; with its standard error, if the table has one."""
    values = frame[name]
    error = f"{name}_stderr"
    if name in _WORDS:
        if name == "layer":
            texts = [layer_title(layer) for layer in values]
        elif name == "checkpoint" and "epoch" in frame:
            texts = [checkpoint_title(row) for row in frame[[name, "epoch"]].to_dict("records")]
        else:
            texts = ["" if pd.isna(value) else str(value) for value in values]
        return _titled(name, texts, number=False)
    if error in frame:
        texts, errors, _ = with_errors(*(_floats(frame[column]) for column in (name, error)))
        notes = [
            f" ± {spread}" if text and spread != "nan" else ""
            for text, spread in zip(texts, errors, strict=True)
        ]
        return _titled(name, texts, notes=notes, number=True)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return _titled(
            name, _plain_texts(_floats(values), _DIGITS_OF.get(name, _DIGITS)), number=True
        )
    texts = ["" if pd.isna(value) else str(value) for value in values]
    return _titled(name, texts, number=False)


def _floats(values: pd.Series) -> NDArray[np.float64]:
    return values.to_numpy(dtype=float, na_value=math.nan)


def _plain_texts(values: NDArray[np.float64], digits: int) -> list[str]:
    """Whole numbers as such, others with as many significant digits each; "" without a value."""
    known = values[np.isfinite(values)]
    form = ".0f" if (known % 1 == 0).all() and (np.abs(known) < 1e15).all() else f"#.{digits}g"
    return ["" if math.isnan(value) else f"{value:{form}}" for value in values]


def _numbers(frame: pd.DataFrame, left_out: Iterable[str]) -> list[dict[str, Any]]:
    """All columns of numbers that say something: not the same in every row, not empty."""
    out = {*left_out, *_NOT_SHOWN}
    columns = []
    for name in frame.columns:
        constant = name in _SETTINGS and frame[name].nunique(dropna=False) < 2
        if name in out or name.endswith("_stderr") or constant or frame[name].isna().all():
            continue
        columns.append(_column(frame, name))
    return columns


def _layer_columns(layers: pd.DataFrame) -> list[dict[str, Any]]:
    varying = [name for name in _IDENTITY if layers[name].nunique(dropna=False) > 1]
    columns = [_column(layers, name) | {"identity": True} for name in ("layer", *varying)]
    for column in columns:
        column["choice"] = True
    names = ["layer_name", "output_shape", "n_features"]
    numbers = _numbers(layers, [*_IDENTITY, "layer", *names, "status"])
    for column in numbers:
        column["main"] = column["label"] in (_TITLES[name][0] for name in _MAIN)
    if (layers["status"] != STATUS_OK).any():
        columns.append(_column(layers, "status"))
    return [*columns, *numbers, *(_column(layers, name) for name in names)]


def _class_columns(manifolds: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        _column(manifolds, "class_name") | {"choice": True},
        *_numbers(manifolds, MANIFOLD_IDENTITY),
    ]


def _only(column: Mapping[str, Any], kept: NDArray[np.bool_]) -> dict[str, Any]:
    """A column with some of its rows."""
    lists = {key: [*compress(column[key], kept)] for key in ("texts", "notes") if key in column}
    return {**column, **lists}


def _places(manifolds: pd.DataFrame, layers: pd.DataFrame) -> Any:
    """The row in the table of layers that each manifold is of, or -1."""
    keys = [pd.MultiIndex.from_frame(frame[[*_KEY]]) for frame in (layers, manifolds)]
    return keys[0].get_indexer(keys[1])


def _last_checkpoints_first(layers: pd.DataFrame) -> Any:
    """Rows of layers, those of each network's last checkpoint first."""
    networks = layers.groupby(["model", "seed"], sort=False)["checkpoint"]
    earlier = (layers["checkpoint"] != networks.transform("last")).to_numpy(dtype=bool)
    return np.argsort(earlier, kind="stable")


def _module(row: Mapping[Any, Any]) -> str:
    where = f"{row['dataset']}: {row['model']}, seed {row['seed']}, {checkpoint_title(row)}"
    which = f"{where}, {split_title(row['split'])}, {row['labels']} labels."
    what = f"output {row['output_shape']}, {row['n_features']} features"
    return f"{which} Module {row['layer_name']}, {what}."


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


def _facts(facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th scope=row>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table class=facts>{rows}</table>"


def _dataset_facts(dataset: Mapping[str, Any]) -> dict[str, str]:
    shape, classes = dataset["image_shape"], dataset["class_names"]
    facts = {
        "Name": dataset["name"],
        "Images": "×".join(map(str, shape)) + " (height, width, channels)",
        "Classes": f"{len(classes)}: {_few(classes)}",
    }
    for split, counts in dataset["counts"].items():
        facts[f"{split.capitalize()} images"] = f"{sum(counts):,}"
    source = dataset.get("source") or {}
    return facts | {
        "Source": ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in source.items()),
        "Digest": dataset["digest"],
    }


def _few(names: Sequence[str], most: int = 20) -> str:
    text = ", ".join(names[:most])
    return text if len(names) <= most else f"{text}, ... and {len(names) - most} more"


def _entry_facts(entry: Mapping[str, Any]) -> dict[str, str]:
    """What one kind of file of a step was made with."""
    facts = {}
    for name, value in entry.items():
        if name == "n_layers":
            facts["Used by"] = f"{value} layer{'s' if value != 1 else ''}"
        else:
            text = ", ".join(_flat(value)) if isinstance(value, Mapping) else str(value)
            facts[name.replace("_", " ").capitalize()] = text
    return facts


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for name, part in value.items():
        if isinstance(part, Mapping):
            yield from _flat(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} {part}"
