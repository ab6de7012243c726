"""What each command does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
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

    # All are looked at before any is measured: a mistake in the last one shows at once.
    found = [
        ExternalActivations(path, arguments.labels, names=arguments.layers)
        for path in arguments.files
    ]
    for one in found:
        _check_points(one, arguments.points_per_class)
    rows: list[dict[str, Any]] = []
    tables: list[pd.DataFrame] = []
    for name, one in zip(_distinct([one.path for one in found]), found, strict=True):
        for layer in one.layers:
            if sys.stderr.isatty():
                print(f"{one.path}: {layer.name}, {layer.n_features} features", file=sys.stderr)
            row, manifolds = _measure_layer(one, name, layer, arguments)
            rows.append(row)
            tables.append(manifolds)
    layers = layers_table(rows)
    print(format_table(layers))
    if arguments.points_per_class == "all":
        _hint_at_unequal_numbers(found)
    if arguments.output:
        write_table(layers, arguments.output)
    if arguments.manifolds:
        write_table(manifolds_table(tables), arguments.manifolds)
    failed = int((layers["status"] != STATUS_OK).sum())
    if failed:
        return fail(f"{failed} of {len(layers)} layers could not be measured; the table says why")
    return DONE


def _hint_at_unequal_numbers(found: Sequence[ExternalActivations]) -> None:
    """Say so if manifolds have different numbers of points: more points make a manifold larger."""
    for one in found:
        counts = one.counts["all"]
        if min(counts) < max(counts):
            print(
                f"{one.path}: {min(counts)} to {max(counts)} points per manifold. The more points, the lower the "
                f"capacity: `--points-per-class {min(counts)}` takes equally many of each.",
                file=sys.stderr,
            )


def _check_points(own: ExternalActivations, points: int | str) -> None:
    """Raise if a class has fewer points than are to be drawn: it would stop the run halfway."""
    counts = dict(zip(own.class_names, own.counts["all"], strict=True))
    least = min(counts, key=lambda name: counts[name])
    if isinstance(points, int) and points > counts[least]:
        raise UsageError(
            f"--points-per-class: {points}, but {own.path} has only {counts[least]} points of class "
            f"{least!r}; draw at most {counts[least]}"
        )


def _measure_layer(
    own: ExternalActivations, name: str, layer: Layer, arguments: argparse.Namespace
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The layer's row and the table of its manifolds, as the pipeline has them."""
    import pandas as pd

    from manifold_capacity.geometry.draws import combine_draws
    from manifold_capacity.geometry.measure import measure
    from manifold_capacity.summary.rows import (
        EXTERNAL,
        ORIGINAL,
        SPLIT,
        STATUS_OK,
        layer_columns,
        manifold_table,
    )

    row: dict[str, Any] = {
        "dataset": own.name,
        "model": name,
        "weights": EXTERNAL,
        "seed": arguments.seed,
        "checkpoint": EXTERNAL,
        "epoch": None,
        "split": SPLIT,
        "labels": ORIGINAL,
        **layer_columns(layer),
    }
    try:
        geometry = measure(
            own.open(layer.label, points_per_class=arguments.points_per_class, seed=arguments.seed),
            margin=arguments.margin,
            n_gaussians=arguments.n_gaussians,
            relative_error=arguments.relative_error,
            seed=arguments.seed,
            threads=arguments.threads,
        )
    except ValueError as error:
        row |= {"status": in_options(error), "n_manifolds": len(own.class_names)}
        return row, manifold_table(row, {}, pd.DataFrame())
    numbers, manifolds = combine_draws([geometry])
    row |= {"status": STATUS_OK} | numbers
    return row, manifold_table(row, dict(enumerate(own.class_names)), manifolds)


def run_layers(arguments: argparse.Namespace) -> int:
    import pandas as pd

    from manifold_capacity.models.find_layers import list_layers
    from manifold_capacity.models.networks import check_model, input_shape
    from manifold_capacity.summary.tables import write_table

    try:
        check_model(arguments.model)
    except ValueError as error:
        raise UsageError(str(error)) from error
    size = arguments.image_size
    shape = input_shape(arguments.model, (size, size, arguments.channels))
    found = list_layers(arguments.model, n_classes=arguments.classes, image_shape=shape)
    table = pd.DataFrame(
        {
            "index": layer.index,
            "name": layer.name,
            "type": layer.type,
            "output_shape": "x".join(map(str, layer.output_shape)),
            "n_features": layer.n_features,
        }
        for layer in found
    )
    print(_aligned(["Index", "Name", "Type", "Shape", "Features"], table.values.tolist()))
    if arguments.output:
        write_table(table, arguments.output)
    return DONE


def run_plot(arguments: argparse.Namespace) -> int:
    from manifold_capacity.figures.registry import FIGURES
    from manifold_capacity.figures.style import write
    from manifold_capacity.summary.columns import NEEDED_COLUMNS
    from manifold_capacity.summary.tables import read_table

    path: Path = arguments.table
    if path.suffix not in (".csv", ".parquet"):
        raise UsageError(f"{path} is not taken; allowed: .csv, .parquet")
    table = read_table(path)
    fitting = [
        figure.name
        for figure in FIGURES.values()
        if NEEDED_COLUMNS[figure.table] <= {*table.columns}
    ]
    if not fitting:
        raise ValueError(
            f"{path} is none of the tables layers, manifolds, centers and training of a run, nor of "
            f"`{PROGRAM} measure`: its columns are {', '.join(map(str, table.columns[:8]))}"
            f"{', ...' if len(table.columns) > 8 else ''}"
        )
    figure = arguments.figure or fitting[0]
    if figure not in fitting:
        raise UsageError(
            f"--figure: {figure} can't be drawn from {path}; allowed: {', '.join(fitting)}"
        )
    output = arguments.output or Path(f"{path.stem}.svg")
    write(FIGURES[figure].plot(table), output)
    print(f"wrote {output}")
    return DONE


def _distinct(paths: Sequence[Path]) -> list[str]:
    """What to call each set: by its file's name, or by its whole path where names repeat."""
    from manifold_capacity.activations.external import default_name

    names = [default_name(str(path)) for path in paths]
    return [
        name if names.count(name) == 1 else str(path)
        for name, path in zip(names, paths, strict=True)
    ]


def _aligned(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns of text; numbers to the right."""
    lines = [titles, *rows]
    widths = [max(len(str(line[column])) for line in lines) for column in range(len(titles))]
    numbers = [
        all(isinstance(row[column], int) for row in lines[1:]) for column in range(len(titles))
    ]
    return "\n".join(
        "   ".join(
            str(cell).rjust(width) if number else str(cell).ljust(width)
            for cell, width, number in zip(line, widths, numbers, strict=True)
        ).rstrip()
        for line in lines
    )
