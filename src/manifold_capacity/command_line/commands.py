"""The commands: run, measure, layers and plot."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from manifold_capacity.command_line.errors import DONE, PROGRAM, UsageError, fail, in_options, say
from manifold_capacity.errors import CaveatWarning, UserError

if TYPE_CHECKING:
    from manifold_capacity.activations.external import ExternalActivations
    from manifold_capacity.models.layers import Layer


def run_pipeline(arguments: argparse.Namespace) -> NoReturn:
    """Become Snakemake: its exit code, and what it does when it is interrupted, are the command's."""
    config: Path = arguments.config
    if not config.is_file():
        raise UsageError(f"{config} is a folder; name a configuration file")
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / "Snakefile").is_file():
        raise UserError(
            "the pipeline is not part of the installed package; clone the repository and install it from there: "
            "pip install -e '.[pipeline]'"
        )
    if importlib.util.find_spec("snakemake") is None:
        raise ModuleNotFoundError("the pipeline is run by Snakemake", name="snakemake")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(checkout / "Snakefile")]
    command += ["--configfile", str(config)]
    command += ["--workflow-profile", str(checkout / "profiles" / "default")]
    os.execv(sys.executable, [*command, *arguments.options])


def run_measure(arguments: argparse.Namespace) -> int:
    import pandas as pd

    from manifold_capacity.activations.external import ExternalActivations, default_name
    from manifold_capacity.summary.collect import layers_table, manifolds_table
    from manifold_capacity.summary.rows import STATUS_OK
    from manifold_capacity.summary.tables import write_table
    from manifold_capacity.summary.text import format_table

    output, manifolds = arguments.output, arguments.manifolds
    if output and manifolds and output.resolve() == manifolds.resolve():
        raise UsageError(f"--manifolds: {manifolds} is --output too; give each table its own file")
    # All files are checked before any is measured: a mistake in the last one shows at once.
    labels, layers, files = arguments.labels, arguments.layers, arguments.files
    group_by = arguments.group_by
    found = [ExternalActivations(path, labels, names=layers, groups=group_by) for path in files]
    points = arguments.points_per_class
    for one in found:
        if arguments.drop_nan:
            one.drop_not_finite()
        for group, counts in one.counts.items():
            # A group is measured with the classes that it has.
            least, label = min((n, c) for n, c in zip(counts, one.class_names, strict=True) if n)
            if isinstance(points, int) and points > least:
                problem = f"{points}, but {one.path} has only {least} points of class {label!r}"
                problem += f" in group {group!r}" if group_by else ""
                raise UsageError(f"--points-per-class: {problem}; draw at most {least}")
    names = [default_name(str(path)) for path in files]
    measured: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for name, one in zip(names, found, strict=True):
        model = name if names.count(name) == 1 else str(one.path)
        model = ("" if len(found) == 1 else f"{model} ") if group_by else model
        for group, layer in itertools.product(one.counts, one.layers):
            if sys.stderr.isatty():
                print(f"{one.path}: {layer.name}, {layer.n_features} features", file=sys.stderr)
            measured.append(_measure_layer(one, model, group, layer, arguments))
    table = layers_table([row for row, _ in measured])
    if output:
        write_table(table, output)
    if manifolds:
        of_layers = [pd.DataFrame(columns) for _, columns in measured]
        write_table(manifolds_table(of_layers), manifolds)
    say(format_table(table))
    for one in found:
        sizes = [n for counts in one.counts.values() for n in counts if n]
        least, most = min(sizes), max(sizes)
        if one.layout:
            print(f"{one.path}: {one.layout}", file=sys.stderr)
        if points == "all" and least < most:
            text = f"{one.path}: {least} to {most} points per manifold. The more points, the lower the "
            text += "capacity: `--points-per-class equal` draws equally many from each."
            print(text, file=sys.stderr)
    failed = int((table["status"] != STATUS_OK).sum())
    if failed:
        return fail(f"{failed} of {len(table)} layers could not be measured; the table says why")
    return DONE


def _measure_layer(
    activations: ExternalActivations,
    model: str,
    group: str,
    layer: Layer,
    arguments: argparse.Namespace,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The layer's row and the columns of its manifolds, as in the pipeline."""
    from manifold_capacity.geometry.draws import combine_columns
    from manifold_capacity.geometry.measure import measure
    from manifold_capacity.summary import rows

    row: dict[str, Any] = {
        "dataset": activations.name,
        "model": f"{model}{group}" if arguments.group_by else model,
        "weights": rows.EXTERNAL,
        "seed": arguments.seed,
        "checkpoint": rows.EXTERNAL,
        "epoch": None,
        "split": rows.SPLIT,
        "labels": rows.ORIGINAL,
        **rows.layer_columns(layer),
    }
    of_group = {"group": group} if arguments.group_by else {}
    counts = activations.counts[group]
    classes = {index: name for index, name in enumerate(activations.class_names) if counts[index]}
    drawn = {
        "classes": [*classes],
        "points_per_class": arguments.points_per_class,
        "seed": arguments.seed,
        **of_group,
    }
    names = ("margin", "n_gaussians", "relative_error", "seed", "threads")
    options = {name: getattr(arguments, name) for name in names}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CaveatWarning)  # the table says them
            geometry = measure(activations.open(layer.label, **drawn), **options)
            numbers, manifolds = combine_columns([geometry])
            if arguments.glue:
                found = _measure_exactly(activations.open(layer.label, **drawn), arguments)
                numbers, manifolds = rows.joined(numbers, manifolds, found)
    except ValueError as error:
        row |= {"status": in_options(error), **of_group, "n_manifolds": len(classes)}
        return row, rows.manifold_table(row, {}, None)
    row |= {"status": rows.STATUS_OK, **of_group} | numbers
    return row, rows.manifold_table(row, classes, manifolds)


def _measure_exactly(points: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """The columns of the exact capacity, of the layer and of its manifolds."""
    from manifold_capacity.geometry.glue import measure_glue
    from manifold_capacity.geometry.glue_table import combine_glue

    names = ("n_samples", "relative_error", "seed", "threads")
    options = {name: getattr(arguments, name) for name in names}
    row, manifolds = combine_glue([measure_glue(points, **options)])
    return {"row": row, "manifolds": manifolds}


def run_layers(arguments: argparse.Namespace) -> int:
    import pandas as pd

    from manifold_capacity.models.find_layers import list_layers
    from manifold_capacity.models.networks import check_model, input_shape
    from manifold_capacity.summary.rows import layer_columns
    from manifold_capacity.summary.tables import write_table

    try:
        check_model(arguments.model)
    except ValueError as error:
        raise UsageError(str(error)) from error
    image = (arguments.image_size, arguments.image_size, arguments.channels)
    shape = input_shape(arguments.model, image)
    found = list_layers(arguments.model, n_classes=arguments.classes, image_shape=shape)
    # Without further calls and outputs, which few modules have.
    rows = [layer_columns(layer) for layer in found if layer.call == 1 and not layer.output]
    names = ["layer_index", "layer_name", "layer_type", "output_shape", "n_features"]
    table = pd.DataFrame(rows)[names]
    table.columns = [name.removeprefix("layer_") for name in names]
    titles = ["Index", "Name", "Type", "Shape", "Features"]
    if arguments.output:
        write_table(table, arguments.output)
    say(_aligned([titles, *table.itertuples(index=False)]))
    return DONE


def run_plot(arguments: argparse.Namespace) -> int:
    from manifold_capacity.figures.registry import FIGURES
    from manifold_capacity.figures.style import write
    from manifold_capacity.summary.columns import NEEDED_COLUMNS
    from manifold_capacity.summary.tables import read_table

    path: Path = arguments.table
    if path.suffix not in (".csv", ".parquet"):
        raise UsageError(f"{path} is not supported; use one of .csv, .parquet")
    table = read_table(path)
    columns = {*table.columns}
    fitting = [f.name for f in FIGURES.values() if NEEDED_COLUMNS[f.table] <= columns]
    if not fitting:
        raise ValueError(
            f"{path} is not a table of layers, manifolds, centers, separability or training, as a run or "
            f"`{PROGRAM} measure` writes them: its columns are {', '.join(map(str, table.columns[:8]))}"
            f"{', ...' if len(table.columns) > 8 else ''}"
        )
    figure = arguments.figure or fitting[0]
    if figure not in fitting:
        use = ", ".join(fitting)
        raise UsageError(f"--figure: {figure} cannot be drawn from {path}; use one of {use}")
    output = arguments.output or Path(f"{path.stem}.svg")
    write(FIGURES[figure].plot(table), output)
    say(f"wrote {output}")
    return DONE


def _aligned(lines: Sequence[Sequence[Any]]) -> str:
    """Columns of text below their titles; numbers to the right."""
    columns = []
    for title, *cells in zip(*lines, strict=True):
        texts = [title, *map(str, cells)]
        pad = str.rjust if all(isinstance(cell, int) for cell in cells) else str.ljust
        columns.append([pad(text, max(map(len, texts))) for text in texts])
    return "\n".join("   ".join(cells).rstrip() for cells in zip(*columns, strict=True))
