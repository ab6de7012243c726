"""The command `manifold-capacity`: measure files, list a network's layers, draw a table.

It reads and writes what the pipeline does, without Snakemake. ``measure`` needs no more than the
library's own dependencies; what a command needs beyond is imported when it is asked for.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from manifold_capacity import __version__

if TYPE_CHECKING:
    import pandas as pd

    from manifold_capacity.layers import Layer
    from manifold_capacity.own_activations import OwnActivations

__all__ = ["main"]

_PROGRAM = "manifold-capacity"
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

_TABLES = (".csv", ".parquet", ".json")
_PICTURES = (".svg", ".png", ".pdf")
# What the readers call by the configuration's keys, and what it is called here.
_KEYS = {
    "activations.path: ": "",
    "activations.labels: null": "--labels: not given",
    "activations.labels": "--labels",
    "layers.names": "--layers",
    "manifolds.points_per_class": "--points-per-class",
    "models.name: ": "",
    "models.image_size": "--image-size",
}

_DESCRIPTION = "Manifold capacity, radius, dimension and center correlation of layers."
_EPILOG = """\
examples:
  manifold-capacity measure recording.npz
  manifold-capacity measure V4.npy --labels conditions.npy --output V4.csv
  manifold-capacity layers vgg16 --image-size 32 --classes 100
  manifold-capacity plot results/summary/layers.csv -o layers.svg

`manifold-capacity COMMAND --help` explains a command.

exit codes:
  0  all done
  1  something could not be read, measured or written; the last line says what
  2  the command line is wrong, or doesn't fit the files: an option, a value, a file that isn't there
"""

_MEASURE = """\
Measure activations that are in files, and print a row per layer.

FILE is an .npy, an .npz, a folder of .npy files, or a zarr store (v2 or v3). Each array is a layer:

  samples x features                with labels, a number or text per sample: the samples of a class
                                    are a manifold. Labels are an array `labels` in FILE, or --labels
  manifolds x points x features     without labels

Further axes are flattened into features. Files are read block by block, and never changed.
"""
_MEASURE_EPILOG = """\
examples:
  every array of a recording that holds its labels:
    manifold-capacity measure recording.npz
  some of its areas in this order, 40 trials of each condition:
    manifold-capacity measure recording.npz --layers V1,V4,IT --points-per-class 40
  one array (samples, features) with labels of its own; tables to go on with:
    manifold-capacity measure V4.npy --labels conditions.npy --output layers.csv --manifolds classes.csv
  as many Gaussian samples as a standard error of 0.5 % takes:
    manifold-capacity measure V4.npy --labels conditions.npy --n-gaussians auto --relative-error 0.005

A layer without a geometry (all its activations zero, say; or NaN among them) has a row that says so. The others are
measured, and the exit code is 1. Columns: those of the pipeline's summary/layers.csv and manifolds.csv, see
docs/outputs.md.
"""
_LAYERS = """\
List the layers that a network has: index, name, type, shape and number of features of the output for one image.

`name` is what `layers.names` of a configuration takes, `type` what `layers.types` takes. No weights are needed or
downloaded. Needs PyTorch.
"""
_LAYERS_EPILOG = """\
examples:
  as published, on images of 224 x 224 pixels and 1000 classes:
    manifold-capacity layers resnet18
  on CIFAR-100:
    manifold-capacity layers vgg16 --image-size 32 --classes 100
  as a table:
    manifold-capacity layers vit_b_16 --output vit_b_16.csv
"""
_PLOT = """\
Draw a table of a run, or of `manifold-capacity measure`, as a figure. Needs matplotlib.

Which figure it is follows from the table: capacity, radius, dimension and center correlation along the layers
(layers.csv), their spread over classes (manifolds.csv), or loss and accuracy (training.csv).
"""
_PLOT_EPILOG = """\
examples:
  manifold-capacity plot results/summary/layers.csv
  manifold-capacity plot results/summary/manifolds.csv -o classes.pdf
  manifold-capacity plot results/summary/layers.csv --figure dynamics -o dynamics.png
"""


class _UsageError(ValueError):
    """The command line asks for something that there isn't."""


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong; how to use a command is in its `--help`."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{_PROGRAM}: error: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit code: 0 if all is done, 1 if something could not be read, measured or written, 2 if the
        command line is wrong, 130 if interrupted.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            chosen = _parser().parse_args(arguments)
            code: int = chosen.run(chosen)
            sys.stdout.flush()
        except _UsageError as error:
            return _fail(error, USAGE)
        except ModuleNotFoundError as error:
            return _fail(
                f"this needs {error.name}, which is not installed; it comes with the pipeline: "
                f"pip install 'manifold-capacity[pipeline]' (in a clone: pip install '.[pipeline]')"
            )
        except BrokenPipeError:
            # Who read the output has enough (`| head`). Python would complain at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except (ValueError, OSError, MemoryError) as error:
            # What concerns an option begins with it.
            return _fail(error, USAGE if _in_options(error).startswith("--") else FAILED)
        except KeyboardInterrupt:
            return _fail("interrupted", INTERRUPTED)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        run: Callable[[argparse.Namespace], int], name: str, help: str, text: str, epilog: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=help,
            description=text,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.set_defaults(run=run)
        return added

    table = f"write the table as {', '.join(_TABLES)}, by the name's ending"
    add = command(
        _measure, "measure", "measure activations in files", _MEASURE, _MEASURE_EPILOG
    ).add_argument
    add("files", nargs="+", type=_existing, metavar="FILE", help="see above; several are measured")
    add("--labels", type=_existing, metavar="FILE", help="labels, .npy, or `labels` of an .npz")
    add(
        "--layers",
        type=_names,
        default=["*"],
        metavar="NAMES",
        help="names or patterns of the arrays to measure, with commas, in their order (default: all)",
    )
    add(
        "--points-per-class",
        type=_or_word("all", 1),
        default="all",
        metavar="N",
        help="points to draw from each manifold, by the seed (default: all)",
    )
    add("--margin", type=_margin, default=0.0, help="margin of the readout (default: 0)")
    add(
        "--n-gaussians",
        type=_or_word("auto", 2),
        default=300,
        metavar="N",
        help="Gaussian samples per manifold, or auto: as many as --relative-error takes (default: 300)",
    )
    add(
        "--relative-error",
        type=_above_zero,
        default=0.01,
        metavar="X",
        help="standard error of capacity, over capacity, that `auto` aims for (default: 0.01)",
    )
    add("--seed", type=_whole(0), default=0, metavar="N", help="of all random draws (default: 0)")
    add("--threads", type=_whole(1), metavar="N", help="default: one per CPU; same result with any")
    add("-o", "--output", type=_table, metavar="FILE", help=f"{table}: a row per layer")
    add("--manifolds", type=_table, metavar="FILE", help="likewise, a row per layer and manifold")

    add = command(
        _layers, "layers", "list the layers of a network", _LAYERS, _LAYERS_EPILOG
    ).add_argument
    add("model", metavar="MODEL", help="small_cnn or a classifier of torchvision: vgg16, vit_b_16")
    add("--image-size", type=_whole(1), default=224, metavar="N", help="pixels (default: 224)")
    add("--classes", type=_whole(1), default=1000, metavar="N", help="outputs (default: 1000)")
    add(
        "--channels",
        type=_whole(1),
        default=3,
        metavar="N",
        help="of the images, for small_cnn; the others take 3 (default: 3)",
    )
    add("-o", "--output", type=_table, metavar="FILE", help=table)

    add = command(_plot, "plot", "draw a table as a figure", _PLOT, _PLOT_EPILOG).add_argument
    add(
        "table",
        type=_existing,
        metavar="TABLE",
        help="a .csv or .parquet of the pipeline or of measure",
    )
    add(
        "-o",
        "--output",
        type=_picture,
        metavar="FILE",
        help=f"{', '.join(_PICTURES)} (default: the table's name as .svg, in this folder)",
    )
    add("--figure", choices=_FIGURES, help="another figure of the table")
    return parser


def _measure(arguments: argparse.Namespace) -> int:
    from manifold_capacity.own_activations import OwnActivations
    from manifold_capacity.rows import STATUS_OK
    from manifold_capacity.summary import format_table, layers_table, manifolds_table, write_table

    # All are looked at before any is measured: a mistake in the last one shows at once.
    found = [
        OwnActivations(path, arguments.labels, names=arguments.layers) for path in arguments.files
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
        return _fail(f"{failed} of {len(layers)} layers could not be measured; the table says why")
    return DONE


def _hint_at_unequal_numbers(found: Sequence[OwnActivations]) -> None:
    """Say so if manifolds have different numbers of points: more points make a manifold larger."""
    for one in found:
        counts = one.counts["all"]
        if min(counts) < max(counts):
            print(
                f"{one.path}: {min(counts)} to {max(counts)} points per manifold. The more points, the lower the "
                f"capacity: `--points-per-class {min(counts)}` takes equally many of each.",
                file=sys.stderr,
            )


def _check_points(own: OwnActivations, points: int | str) -> None:
    """Raise if a class has fewer points than are to be drawn: it would stop the run halfway."""
    counts = dict(zip(own.class_names, own.counts["all"], strict=True))
    least = min(counts, key=lambda name: counts[name])
    if isinstance(points, int) and points > counts[least]:
        raise _UsageError(
            f"--points-per-class: {points}, but {own.path} has only {counts[least]} points of class "
            f"{least!r}; draw at most {counts[least]}"
        )


def _measure_layer(
    own: OwnActivations, name: str, layer: Layer, arguments: argparse.Namespace
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The layer's row and the table of its manifolds, as the pipeline has them."""
    import pandas as pd

    from manifold_capacity.geometry import measure
    from manifold_capacity.own_activations import EXTERNAL, SPLIT
    from manifold_capacity.repeats import combine_draws
    from manifold_capacity.rows import ORIGINAL, STATUS_OK, layer_columns, manifold_table

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
        row |= {"status": _in_options(error), "n_manifolds": len(own.class_names)}
        return row, manifold_table(row, {}, pd.DataFrame())
    numbers, manifolds = combine_draws([geometry])
    row |= {"status": STATUS_OK} | numbers
    return row, manifold_table(row, dict(enumerate(own.class_names)), manifolds)


def _layers(arguments: argparse.Namespace) -> int:
    import pandas as pd

    from manifold_capacity.models import check_model, input_shape, list_layers
    from manifold_capacity.summary import write_table

    try:
        check_model(arguments.model)
    except ValueError as error:
        raise _UsageError(str(error)) from error
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


_FIGURES = (
    "layers",
    "manifolds",
    "dynamics",
    "radius_dimension",
    "centers",
    "controls",
    "training",
)


def _plot(arguments: argparse.Namespace) -> int:
    from manifold_capacity import figures
    from manifold_capacity.rows import (
        CENTERS_IDENTITY,
        CENTERS_NUMBERS,
        LAYER_IDENTITY,
        MANIFOLD_IDENTITY,
    )
    from manifold_capacity.summary import LAYER_NUMBERS, MANIFOLD_NUMBERS, read_table

    path: Path = arguments.table
    if path.suffix not in (".csv", ".parquet"):
        raise _UsageError(f"{path} is not taken; allowed: .csv, .parquet")
    table = read_table(path)
    layers = {*LAYER_IDENTITY, "status", *LAYER_NUMBERS}
    needed = {
        "layers": layers,
        "dynamics": layers,
        "radius_dimension": layers,
        "controls": layers,
        "centers": {*CENTERS_IDENTITY, *CENTERS_NUMBERS},
        "manifolds": {*MANIFOLD_IDENTITY, *MANIFOLD_NUMBERS},
        "training": {
            *("model", "seed", "epoch"),
            *(f"{split}_{part}" for split in ("train", "test") for part in ("loss", "accuracy")),
        },
    }
    fitting = [figure for figure, columns in needed.items() if columns <= {*table.columns}]
    if not fitting:
        raise ValueError(
            f"{path} is none of the tables layers, manifolds, centers and training of a run, nor of "
            f"`{_PROGRAM} measure`: its columns are {', '.join(map(str, table.columns[:8]))}"
            f"{', ...' if len(table.columns) > 8 else ''}"
        )
    figure = arguments.figure or fitting[0]
    if figure not in fitting:
        raise _UsageError(
            f"--figure: {figure} can't be drawn from {path}; allowed: {', '.join(fitting)}"
        )
    output = arguments.output or Path(f"{path.stem}.svg")
    figures.write(getattr(figures, f"plot_{figure}")(table), output)
    print(f"wrote {output}")
    return DONE


def _distinct(paths: Sequence[Path]) -> list[str]:
    """What to call each set: by its file's name, or by its whole path where names repeat."""
    from manifold_capacity.own_activations import default_name

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


def _existing(text: str) -> Path:
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"there is no file or folder {text}")
    return Path(text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _or_word(word: str, least: int) -> Callable[[str], int | str]:
    return lambda text: word if text == word else _whole(least, f" or {word}")(text)


def _whole(least: int, other: str = "") -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not taken; allowed: a whole number, {least} or more{other and ','}{other}"
            )
        return int(text)

    return parse


def _margin(text: str) -> float:
    return _number(text, "0 or more", lambda number: number >= 0)


def _above_zero(text: str) -> float:
    return _number(text, "above 0", lambda number: number > 0)


def _number(text: str, allowed: str, fits: Callable[[float], bool]) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not fits(number) or number == float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not taken; allowed: a number {allowed}")
    return number


def _table(text: str) -> Path:
    path = _writable(text, _TABLES)
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ModuleNotFoundError("Parquet is written by pyarrow", name="pyarrow")
    return path


def _picture(text: str) -> Path:
    return _writable(text, _PICTURES)


def _writable(text: str, endings: Sequence[str]) -> Path:
    """A file that can be written later, as far as one can know before."""
    path = Path(text)
    if path.suffix not in endings:
        raise argparse.ArgumentTypeError(f"{text} is not taken; allowed: {', '.join(endings)}")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: there is no folder {path.parent}; make it first")
    return path


def _in_options(message: object) -> str:
    text = str(message)
    for key, option in _KEYS.items():
        text = text.replace(key, option)
    return " ".join(text.split())


def _fail(message: object, code: int = FAILED) -> int:
    print(f"{_PROGRAM}: error: {_in_options(message)}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"{_PROGRAM}: warning: {_in_options(message)}", file=sys.stderr)
