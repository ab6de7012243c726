"""Writes the files and the interface of the present version, to be read by all later ones: see docs/versions.md.

    python tests/data/formats/make.py [FOLDER]

once for a version, with the pipeline installed and all changes committed. A folder that is there is never written again.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

# A run that writes each kind of file. Images and weights are small whole numbers: sums of them are exact.
CONFIG = """\
results: run
dataset: {name: arrays, path: images.npz, normalize: none}
models:
  - {name: tiny, factory: "net.py:make"}
training: {epochs: 1}
checkpoints: [0, final]
manifolds: {splits: [test], points_per_class: 6}
layers: {input: true, types: [Linear], names: [conv], views: {conv: [flatten, positions]}}
geometry: {n_gaussians: 20, simulated: true, measures: [mean_field, glue], glue: {n_samples: 20}}
device: cpu
"""
NET = """\
from collections import OrderedDict

from torch import nn, no_grad


def make(n_classes, input_shape):
    conv, head = nn.Conv2d(1, 3, (3, 6), stride=3, bias=False), nn.Linear(6, n_classes)
    with no_grad():
        for weight in (conv.weight, head.weight, head.bias):
            weight.copy_((weight.new_full(weight.shape, 3).view(-1).cumsum(0) % 7 - 3).view(weight.shape))
    return nn.Sequential(OrderedDict(conv=conv, flatten=nn.Flatten(), head=head))
"""
# What no version promises to read, and what is large.
LEFT_OUT = ("logs", "benchmarks", "pages", "store_slots", ".svg", ".png")


def images() -> dict[str, np.ndarray]:
    """Five classes of eight images of 6 x 6 pixels in each split."""
    labels = np.arange(40) % 5
    pixels = np.arange(36).reshape(6, 6)
    arrays: dict[str, np.ndarray] = {}
    for split, factor in (("train", 7), ("test", 11)):
        values = [
            (factor * pixels * (label + 2) + 31 * i * i) % 251 for i, label in enumerate(labels)
        ]
        arrays[f"{split}_images"] = np.array(values, dtype=np.uint8)[..., None]
        arrays[f"{split}_labels"] = labels
    return arrays


def write_files(folder: Path) -> None:
    """A run's results in `folder`/run, and the tables of the library and the command in `folder`/tables."""
    from manifold_capacity import measure_layers
    from manifold_capacity.summary.tables import write_table

    (folder / "run.yaml").write_text(CONFIG, encoding="utf-8")
    (folder / "net.py").write_text(NET, encoding="utf-8")
    arrays = images()
    np.savez(folder / "images.npz", **arrays)
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "manifold_capacity"]
    options = {"cwd": folder, "env": os.environ | {"PYTHONPATH": path}, "check": True}
    subprocess.run([*command, "run", "run.yaml", "--cores", "1"], **options)
    tables = folder / "tables"
    tables.mkdir()
    layers = {"V1": arrays["train_images"].astype(float), "IT": arrays["test_images"].astype(float)}
    labels = arrays["train_labels"]
    exact = {"measures": ["mean_field", "glue"], "glue": {"n_samples": 20}}
    table = measure_layers(layers, labels, n_gaussians=20, **exact)
    for name in ("layers", "manifolds", "centers", "separability"):
        write_table(table if name == "layers" else getattr(table, name), tables / f"{name}.csv")
    np.savez(folder / "recording.npz", labels=labels, **layers)
    for ending in ("csv", "json", "parquet"):
        written = ["-o", f"tables/command.{ending}", "--manifolds", f"tables/classes.{ending}"]
        subprocess.run([*command, "measure", "recording.npz", *written], **options)


def interface() -> dict[str, Any]:
    """What docs/versions.md promises to keep, by name: keys, columns, figures, functions, options, exit codes."""
    from manifold_capacity.command_line import errors
    from manifold_capacity.config.schema import load_schema
    from manifold_capacity.figures.registry import FIGURES
    from manifold_capacity.summary.columns import TABLES

    targets = (ROOT / "rules" / "targets.smk").read_text(encoding="utf-8")
    targets += (ROOT / "rules" / "tools.smk").read_text(encoding="utf-8")
    return {
        "keys": dict(_keys(load_schema(ROOT / "schemas" / "config.schema.yaml"))),
        "columns": {
            name: {column.name: column.type for column in columns}
            for name, columns in TABLES.items()
        },
        "figures": sorted(FIGURES),
        "python": dict(_documented()),
        "command": dict(_options()),
        "targets": sorted(re.findall(r"^rule (\w+):", targets, re.MULTILINE)),
        "exit_codes": {
            name: getattr(errors, name) for name in ("DONE", "FAILED", "USAGE", "INTERRUPTED")
        },
    }


def _keys(schema: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each key with its default and its allowed words."""
    for name, key in schema.get("properties", {}).items():
        alternatives = [key, *key.get("oneOf", [])]
        words = {
            word for each in alternatives for word in [*each.get("enum", []), each.get("const")]
        }
        about: dict[str, Any] = {"words": sorted(words - {None})}
        if "default" in key:
            about["default"] = key["default"]
        yield f"{above}{name}", about
        for inner in alternatives:
            yield from _keys(inner, f"{above}{name}.")
        if isinstance(key.get("items"), Mapping):
            yield from _keys(key["items"], f"{above}{name}[].")


def _documented() -> Iterator[tuple[str, list[str]]]:
    """The names that docs/api documents, methods too, with the parameters of each."""
    for page in sorted((ROOT / "docs" / "api").glob("*.md")):
        module = "manifold_capacity"
        for kind, target, members in re.findall(
            r"^(?:\.\. (currentmodule|auto\w+):: (\S+))(?:\n   :members: (.+))?",
            page.read_text(encoding="utf-8"),
            re.MULTILINE,
        ):
            if kind in ("currentmodule", "automodule"):
                module = target
                names = [f"{module}.{name}" for name in re.findall(r"\w+", members)]
            elif kind == "autosummary":
                continue
            else:
                names = [
                    target if target.startswith("manifold_capacity.") else f"{module}.{target}"
                ]
            for name in names:
                yield from _parameters(name)


def _parameters(name: str) -> Iterator[tuple[str, list[str]]]:
    home, _, last = name.rpartition(".")
    thing = getattr(importlib.import_module(home), last)
    yield name, _signature(thing)
    if inspect.isclass(thing):
        for member, value in vars(thing).items():
            if not member.startswith("_") and not isinstance(value, type):
                called = getattr(value, "__func__", value)
                yield f"{name}.{member}", _signature(called) if callable(called) else []


def _signature(thing: Any) -> list[str]:
    """Names of parameters, in brackets where one must be given; of a dataclass, names of its fields."""
    if dataclasses.is_dataclass(thing):
        return [field.name for field in dataclasses.fields(thing)]
    if not callable(thing):
        return []
    try:
        parameters = inspect.signature(thing).parameters
    except ValueError:  # built in
        return []
    return [
        f"<{name}>" if parameter.default is parameter.empty else name
        for name, parameter in parameters.items()
    ]


def _options() -> Iterator[tuple[str, dict[str, Any]]]:
    """Arguments of each command with their defaults."""
    from manifold_capacity.command_line.parser import build_parser

    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, parser in action.choices.items():
                yield (
                    name,
                    {
                        option: argument.default
                        for argument in parser._actions
                        for option in argument.option_strings or [argument.dest]
                        if argument.dest != "help"
                    },
                )


def main() -> None:
    from manifold_capacity import __version__

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if sys.argv[1:] else HERE / __version__.rpartition(".")[0]
        folder.mkdir()  # an error if it is there
        write_files(Path(temporary))
        with tarfile.open(folder / "files.tar.xz", "w:xz") as archive:
            for name in ("run", "tables", "run.yaml", "net.py", "images.npz"):
                archive.add(Path(temporary) / name, name, filter=_kept)
    text = json.dumps(interface(), indent=1, sort_keys=True, ensure_ascii=False)
    (folder / "interface.json").write_text(f"{text}\n", encoding="utf-8")


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if {*Path(member.name).parts, Path(member.name).suffix} & {*LEFT_OUT}:
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
