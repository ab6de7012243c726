"""Options of the command, their help texts and the checks of their values."""

from __future__ import annotations

import importlib.util
import math
import os
from argparse import (
    REMAINDER,
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
)
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from manifold_capacity import __version__
from manifold_capacity.command_line.commands import (
    run_layers,
    run_measure,
    run_pipeline,
    run_plot,
)
from manifold_capacity.command_line.errors import PROGRAM, USAGE
from manifold_capacity.errors import shortened
from manifold_capacity.figures.registry import FIGURES
from manifold_capacity.geometry.arguments import MOST_MARGIN

_TABLES = (".csv", ".parquet", ".json")
_PICTURES = (".svg", ".png", ".pdf")

_DESCRIPTION = "Manifold capacity, radius, dimension and center correlation of layers."

_EPILOG = """\
examples:
  manifold-capacity run my.yaml
  manifold-capacity measure recording.npz
  manifold-capacity measure V4.npy --labels conditions.npy --output V4.csv
  manifold-capacity layers vgg16 --image-size 32 --classes 100
  manifold-capacity plot results/summary/layers.csv -o layers.svg

`manifold-capacity COMMAND --help` explains a command.

exit codes:
  0  success
  1  something could not be read, measured or written; the last line says what
  2  the command line is wrong or does not match the files: an option, a value, a missing file
"""

_RUN = """\
Run the pipeline on a configuration file, in the current folder.

It needs a clone of the repository, installed by pip install -e '.[pipeline]', and does

  snakemake --snakefile <clone>/Snakefile --configfile CONFIG --workflow-profile <clone>/profiles/default OPTIONS

with exit codes of Snakemake. Paths in CONFIG are relative to its folder, `results` to the current one.
"""

_RUN_EPILOG = """\
examples:
  manifold-capacity run my.yaml
  what would run:
    manifold-capacity run my.yaml -n
  one part of it, with 4 cores:
    manifold-capacity run my.yaml geometry --cores 4
  jobs, time and disk space that it takes:
    manifold-capacity run my.yaml plan
"""

_MEASURE = """\
Measure activations in files, and print a row per layer.

FILE is an .npy, an .npz, a folder of .npy files, or a zarr store (v2 or v3). Each array is a layer:

  samples x features                with labels, a number or text per sample: the samples of a class
                                    form a manifold. Labels are an array `labels` in FILE, or --labels
  manifolds x points x features     without labels

Further axes are flattened into features. Files are read block by block and never changed.
"""

_MEASURE_EPILOG = """\
examples:
  every array of a file that contains its labels:
    manifold-capacity measure recording.npz
  the exact capacity, with all correlations between manifolds, beside the mean-field one:
    manifold-capacity measure recording.npz --glue
  some of its arrays in this order, 40 samples of each class:
    manifold-capacity measure recording.npz --layers V1,V4,IT --points-per-class 40
  each day by itself, by an array `day` of the file with the day of each sample:
    manifold-capacity measure recording.npz --group-by day
  one array (samples, features) and its labels; the results as tables:
    manifold-capacity measure V4.npy --labels conditions.npy --output layers.csv --manifolds classes.csv
  as many Gaussian samples as their standard error of 0.5 % needs:
    manifold-capacity measure V4.npy --labels conditions.npy --n-gaussians auto --relative-error 0.005

If a layer cannot be measured (all its activations are zero, say, or some are NaN), its row says why, the other layers
are measured, and the exit code is 1. The columns are those of the pipeline's summary/layers.csv and manifolds.csv, see
docs/outputs.md.
"""

_LAYERS = """\
List the layers of a network: index, name, type, and the shape and number of features of the output for one image.

In a configuration, `layers.names` selects by name, `layers.types` by type. No weights are downloaded. Needs PyTorch.
"""

_LAYERS_EPILOG = """\
examples:
  as published, for images of 224 x 224 pixels and 1000 classes:
    manifold-capacity layers resnet18
  for CIFAR-100:
    manifold-capacity layers vgg16 --image-size 32 --classes 100
  as a table:
    manifold-capacity layers vit_b_16 --output vit_b_16.csv
"""

_PLOT = """\
Draw a table of a run, or of `manifold-capacity measure`, as a figure. Needs matplotlib.

The table determines the figure: capacity, radius, dimension and center correlation along the layers
(layers.csv), their spread over classes (manifolds.csv), or loss and accuracy (training.csv).
"""

_PLOT_EPILOG = """\
examples:
  manifold-capacity plot results/summary/layers.csv
  manifold-capacity plot results/summary/manifolds.csv -o classes.pdf
  manifold-capacity plot results/summary/layers.csv --figure dynamics -o dynamics.png
"""


class _Parser(ArgumentParser):
    """Reports a mistake in one line, without the usage, and names the command's own help."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        chosen, unknown = self.parse_known_args(args, namespace)
        if unknown:
            chosen.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        return chosen

    def error(self, message: str) -> NoReturn:
        said = shortened(message, 2000)  # it quotes arguments of any length
        self.exit(USAGE, f"{PROGRAM}: error: {said}; see {self.prog} --help\n")


def build_parser() -> ArgumentParser:
    raw = RawDescriptionHelpFormatter
    parser = _Parser(prog=PROGRAM, description=_DESCRIPTION, epilog=_EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        run: Callable[[Namespace], int], name: str, help: str, text: str, epilog: str
    ) -> Callable[..., None]:
        texts: Any = {"help": help, "description": text, "epilog": epilog, "formatter_class": raw}
        added = commands.add_parser(name, allow_abbrev=False, **texts)
        added.set_defaults(run=run, parser=added)

        def add(
            flags: str, help: str, parse: Any, default: Any = None, metavar: str = "N", **more: Any
        ) -> None:
            if parse is bool:
                added.add_argument(flags, help=help, action="store_true")
                return
            help += "" if default is None else f" (default: {default})"
            more |= {"help": help, "type": parse, "default": default, "metavar": metavar}
            added.add_argument(*flags.split(), **more)

        return add

    one_or_more, table = _integer(1, most=10**9), _writable(*_TABLES)
    per_layer = f"write the table to a file ending in {', '.join(_TABLES)}"
    above_zero = _number("above 0", lambda number: number > 0)
    margins = _number(f"from 0 to {MOST_MARGIN:,.0f}", lambda number: 0 <= number <= MOST_MARGIN)

    add = command(run_pipeline, "run", "run the pipeline on a configuration", _RUN, _RUN_EPILOG)
    add(
        "config", "a configuration file; docs/config.md lists its keys", _existing, metavar="CONFIG"
    )
    add("options", "targets and options of Snakemake", str, metavar="[OPTIONS]", nargs=REMAINDER)

    add = command(run_measure, "measure", "measure activations in files", _MEASURE, _MEASURE_EPILOG)
    add("files", "see above; several can be given", _existing, metavar="FILE", nargs="+")
    add("--labels", "labels: an .npy, or an .npz with an array `labels`", _existing, metavar="FILE")
    groups = "measure each group of samples, such as those of a day, by itself: an array of FILE with a number or text "
    groups += "per sample, or an .npy"
    add("--group-by", groups, str, metavar="NAME")
    names = "names or patterns of the arrays to measure, separated by commas, in this order"
    add("--layers", names, _names, "*", metavar="NAMES")
    add(
        "--drop-nan",
        "leave out samples with a NaN or infinite value in any layer; how many is said",
        bool,
    )
    points = "points to draw at random from each manifold; equal: as many as the smallest has"
    add("--points-per-class", points, _integer(1, "all", "equal"), "all")
    add("--margin", "margin of the readout", margins, 0.0, metavar="X")
    samples = "Gaussian samples per manifold, or auto: as many as --relative-error needs"
    add("--n-gaussians", samples, _integer(2, "auto", most=10**9), 300)
    error = "standard error of the Gaussian samples, relative to capacity, that `auto` aims for"
    add("--relative-error", error, above_zero, 0.01, metavar="X")
    add(
        "--glue",
        "also measure the exact capacity, with all correlations: a minute for 5,000 points",
        bool,
    )
    samples = "samples of labels for --glue, or auto: as many as --relative-error needs"
    add("--n-samples", samples, _integer(2, "auto", most=10**9), 300)
    add("--seed", "seed of all random draws", _integer(0, most=2**63 - 1), 0)
    add("--threads", "results do not depend on it (default: one per CPU)", one_or_more)
    add("-o --output", f"{per_layer}: a row per layer", table, metavar="FILE")
    add("--manifolds", "the same: a row per layer and manifold", table, metavar="FILE")

    add = command(run_layers, "layers", "list the layers of a network", _LAYERS, _LAYERS_EPILOG)
    model = "small_cnn, or a classifier of torchvision such as vgg16"
    add("model", model, str, metavar="MODEL")
    add("--image-size", "height and width of the images in pixels", one_or_more, 224)
    add("--classes", "number of outputs", one_or_more, 1000)
    channels = "channels of the images, for small_cnn; other networks take 3"
    add("--channels", channels, one_or_more, 3)
    add("-o --output", per_layer, table, metavar="FILE")

    add = command(run_plot, "plot", "draw a table as a figure", _PLOT, _PLOT_EPILOG)
    add("table", ".csv or .parquet, of the pipeline or of measure", _existing, metavar="TABLE")
    pictures = f"{', '.join(_PICTURES)} (default: the table's name as .svg, in this folder)"
    add("-o --output", pictures, _writable(*_PICTURES), metavar="FILE")
    figure = "a figure other than the table's first: %(choices)s"
    add("--figure", figure, str, metavar="FIGURE", choices=FIGURES)
    return parser


def _existing(text: str) -> Path:
    try:
        there = Path(text).exists()
    except OSError as error:
        raise ArgumentTypeError(f"{text[:80]}...: {error.strerror}") from error
    if not there:
        raise ArgumentTypeError(f"there is no file or folder {text}")
    return Path(text)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ArgumentTypeError(f"names no array: {text!r}; leave it out to measure all")
    return names


def _integer(least: int, *words: str, most: int | None = None) -> Callable[[str], Any]:
    """A parser of integers from `least` on, or one of some words."""

    def parse(text: str) -> int | str:
        if text in words:
            return text
        fits = text.isdecimal() and len(text) < 100 and int(text) >= least
        if not fits or (most is not None and int(text) > most):
            other = "".join(f", or {word}" for word in words)
            allowed = f"{least} or more{other}"
            if text.isdecimal() and len(text) > 1 and most is not None:
                allowed = f"{least} to {most}{other}"
            shown = text if len(text) < 100 else f"{text[:20]}..."
            raise ArgumentTypeError(f"must be an integer, {allowed}, not {shown!r}")
        return int(text)

    return parse


def _number(allowed: str, fits: Callable[[float], bool]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and fits(number)):
            raise ArgumentTypeError(f"must be a number {allowed}, not {text!r}")
        return number

    return parse


def _writable(*endings: str) -> Callable[[str], Path]:
    """A parser of files that can be written later, as far as this can be checked before."""

    def parse(text: str) -> Path:
        path = Path(text)
        if path.suffix not in endings:
            raise ArgumentTypeError(f"{text} is not supported; use one of {', '.join(endings)}")
        if path.is_dir():
            raise ArgumentTypeError(f"{text} is a folder; name a file")
        if not path.parent.is_dir():
            raise ArgumentTypeError(f"{text}: there is no folder {path.parent}; make it first")
        if not os.access(path.parent, os.W_OK):
            raise ArgumentTypeError(
                f"{text}: you may not write in {path.parent}; name another folder"
            )
        if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
            raise ModuleNotFoundError("Parquet is written by pyarrow", name="pyarrow")
        return path

    return parse
