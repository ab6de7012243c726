"""The commands: measure, layers and plot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifold_capacity.command_line.errors import DONE, PROGRAM, UsageError, fail, in_options

if TYPE_CHECKING:
    import pandas as pd

    from manifold_capacity.activations.external import ExternalActivations
    from manifold_capacity.models.layers import Layer


def run_measure(arguments: argparse.Namespace) -> int:
    from manifold_capacity.activations.external import ExternalActivations
    from manifold_capacity.summary.collect import layers_table, manifolds_table
    from manifold_capacity.summary.rows import STATUS_OK
    from manifold_capacity.summary.tables import write_table
    from manifold_capacity.summary.text import format_table

    # All files are checked before any is measured: a mistake in the last one shows at once.
    found = [
        ExternalActivations(path, arguments.labels, names=arguments.layers)
        for path in arguments.files
    ]
    for one in found:
        _check_points(one, arguments.points_per_class)
    measured: list[tuple[dict[str, Any], pd.DataFrame]] = []
    for name, one in zip(_distinct([one.path for one in found]), found, strict=True):
        for layer in one.layers:
            if sys.stderr.isatty():
                print(f"{one.path}: {layer.name}, {layer.n_features} features", file=sys.stderr)
            measured.append(_measure_layer(one, name, layer, arguments))
    layers = layers_table([row for row, _ in measured])
    print(format_table(layers))
    for one in found:
        counts = one.counts["all"]
        if arguments.points_per_class == "all" and min(counts) < max(counts):
            print(
                f"{one.path}: {min(counts)} to {max(counts)} points per manifold. The more points, the lower the "
                f"capacity: `--points-per-class {min(counts)}` draws equally many from each.",
                file=sys.stderr,
            )
    if arguments.output:
        write_table(layers, arguments.output)
    if arguments.manifolds:
        write_table(manifolds_table([manifolds for _, manifolds in measured]), arguments.manifolds)
    failed = int((layers["status"] != STATUS_OK).sum())
    if failed:
        return fail(f"{failed} of {len(layers)} layers could not be measured; the table says why")
    return DONE


def _check_points(activations: ExternalActivations, points: int | str) -> None:
    """Raise if a class has fewer points than are to be drawn, which would stop the run halfway."""
    least, name = min(zip(activations.counts["all"], activations.class_names, strict=True))
    if isinstance(points, int) and points > least:
        raise UsageError(
            f"--points-per-class: {points}, but {activations.path} has only {least} points of class "
            f"{name!r}; draw at most {least}"
        )


def _measure_layer(
    activations: ExternalActivations, name: str, layer: Layer, arguments: argparse.Namespace
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The layer's row and the table of its manifolds, as in the pipeline."""
    import pandas as pd

    from manifold_capacity.geometry.draws import combine_draws
    from manifold_capacity.geometry.measure import measure
    from manifold_capacity.summary import rows

    row: dict[str, Any] = {
        "dataset": activations.name,
        "model": name,
        "weights": rows.EXTERNAL,
        "seed": arguments.seed,
        "checkpoint": rows.EXTERNAL,
        "epoch": None,
        "split": rows.SPLIT,
        "labels": rows.ORIGINAL,
        **rows.layer_columns(layer),
    }
    drawn = {"points_per_class": arguments.points_per_class, "seed": arguments.seed}
    names = ("margin", "n_gaussians", "relative_error", "seed", "threads")
    options = {name: getattr(arguments, name) for name in names}
    try:
        geometry = measure(activations.open(layer.label, **drawn), **options)
    except ValueError as error:
        row |= {"status": in_options(error), "n_manifolds": len(activations.class_names)}
        return row, rows.manifold_table(row, {}, pd.DataFrame())
    numbers, manifolds = combine_draws([geometry])
    row |= {"status": rows.STATUS_OK} | numbers
    return row, rows.manifold_table(row, dict(enumerate(activations.class_names)), manifolds)


def run_layers(arguments: argparse.Namespace) -> int:
    import pandas as pd

    from manifold_capacity.models.find_layers import list_layers
    from manifold_capacity.models.networks import check_model, input_shape
    from manifold_capacity.summary.tables import write_table

    try:
        check_model(arguments.model)
    except ValueError as error:
        raise UsageError(str(error)) from error
    image = (arguments.image_size, arguments.image_size, arguments.channels)
    shape = input_shape(arguments.model, image)
    found = list_layers(arguments.model, n_classes=arguments.classes, image_shape=shape)
    rows = [
        (x.index, x.name, x.type, "x".join(map(str, x.output_shape)), x.n_features) for x in found
    ]
    titles = ["Index", "Name", "Type", "Shape", "Features"]
    print(_aligned([titles, *rows]))
    if arguments.output:
        names = ["index", "name", "type", "output_shape", "n_features"]
        write_table(pd.DataFrame(rows, columns=names), arguments.output)
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
    fitting = [
        figure.name
        for figure in FIGURES.values()
        if NEEDED_COLUMNS[figure.table] <= {*table.columns}
    ]
    if not fitting:
        raise ValueError(
            f"{path} is not a table of layers, manifolds, centers or training, as a run or "
            f"`{PROGRAM} measure` writes them: its columns are {', '.join(map(str, table.columns[:8]))}"
            f"{', ...' if len(table.columns) > 8 else ''}"
        )
    figure = arguments.figure or fitting[0]
    if figure not in fitting:
        raise UsageError(
            f"--figure: {figure} cannot be drawn from {path}; use one of {', '.join(fitting)}"
        )
    output = arguments.output or Path(f"{path.stem}.svg")
    write(FIGURES[figure].plot(table), output)
    print(f"wrote {output}")
    return DONE


def _distinct(paths: Sequence[Path]) -> list[str]:
    """A name for each set of activations: its file's name, or its whole path where names repeat."""
    from manifold_capacity.activations.external import default_name

    names = [default_name(str(path)) for path in paths]
    return [
        name if names.count(name) == 1 else str(path)
        for name, path in zip(names, paths, strict=True)
    ]


def _aligned(lines: Sequence[Sequence[Any]]) -> str:
    """Columns of text below their titles; numbers to the right."""
    columns = []
    for title, *cells in zip(*lines, strict=True):
        texts = [title, *map(str, cells)]
        pad = str.rjust if all(isinstance(cell, int) for cell in cells) else str.ljust
        columns.append([pad(text, max(map(len, texts))) for text in texts])
    return "\n".join("   ".join(cells).rstrip() for cells in zip(*columns, strict=True))
