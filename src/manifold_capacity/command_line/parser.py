"""The command's options and their help."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from manifold_capacity import __version__
from manifold_capacity.command_line.commands import run_layers, run_measure, run_plot
from manifold_capacity.command_line.errors import PROGRAM, USAGE
from manifold_capacity.figures.registry import FIGURES

_TABLES = (".csv", ".parquet", ".json")


_PICTURES = (".svg", ".png", ".pdf")


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


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong; how to use a command is in its `--help`."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{PROGRAM}: error: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
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
        run_measure, "measure", "measure activations in files", _MEASURE, _MEASURE_EPILOG
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
        run_layers, "layers", "list the layers of a network", _LAYERS, _LAYERS_EPILOG
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

    add = command(run_plot, "plot", "draw a table as a figure", _PLOT, _PLOT_EPILOG).add_argument
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
    add("--figure", choices=FIGURES, help="another figure of the table")
    return parser


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
