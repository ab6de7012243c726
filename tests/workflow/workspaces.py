"""Copies of the working tree in which Snakemake runs on real images."""

from __future__ import annotations

import copy
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from launcher import launch

from manifold_capacity.config.resolve import resolve
from manifold_capacity.figures.registry import FIGURES

ROOT = Path(__file__).parents[2]
WORKING_TREE = [
    "Snakefile",
    "rules",
    "scripts",
    "src",
    "schemas",
    "report",
    "profiles",
    "envs",
    "pyproject.toml",
]

# Small enough for seconds, large enough for every step to have something to do.
CONFIG: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "models": ["small_cnn"],
    "training": {"epochs": 1, "learning_rate": 0.05},
    "manifolds": {"classes": 4, "points_per_class": 12},
    "layers": {"types": ["Linear"], "names": ["features.0"]},
    "geometry": {"n_gaussians": 40},
}
TARGETS = {"all", "training", "activations", "geometry", "summary"}
LAYERS = ["0_Input", "1_Conv2d", "10_Linear", "12_Linear"]
_RESOLVED = resolve(CONFIG, yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text()))
DRAWN = [figure for figure in FIGURES.values() if figure.drawn(_RESOLVED)]
# Jobs that make the tables, figures and pages, except those of the training.
SUMMARY = {"summarize": 1, "compare": 1, "write_pages": 1} | {
    f"draw_{figure.name}": 1 for figure in DRAWN if figure.table != "training"
}


@dataclass
class Workspace:
    """A copy of the working tree with a configuration, in which Snakemake runs."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def configure(self, changes: dict[str, Any] | None = None) -> None:
        """Write the configuration; `changes` maps dotted keys to values."""
        config = copy.deepcopy(CONFIG)
        for dotted, value in (changes or {}).items():
            *sections, key = dotted.split(".")
            target = config
            for section in sections:
                target = target.setdefault(section, {})
            target[key] = value
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))

    def snakemake(
        self, *arguments: str, check: bool | None = True, environment: dict[str, str] | None = None
    ) -> str:
        """Run Snakemake and return its output; `environment` adds variables.

        It must succeed, or with `check=False` fail, or with None either.
        """
        with tempfile.NamedTemporaryFile("r") as output:
            code = launch(
                arguments, self.folder, Path(output.name), os.environ | (environment or {})
            )
            printed = output.read()
        assert check in (None, code == 0), printed
        return printed

    def planned(self, *arguments: str) -> dict[str, int]:
        """Jobs per rule that a run would start, targets left out."""
        printed = self.snakemake("--dry-run", *arguments)
        stats = re.search(r"^job +count\n[- ]+\n(.*?)\ntotal", printed, re.MULTILINE | re.DOTALL)
        if stats is None:
            assert "Nothing to be done" in printed, printed
            return {}
        counts = {name: int(n) for name, n in (line.split() for line in stats[1].splitlines())}
        return {rule: n for rule, n in counts.items() if rule not in TARGETS}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that occurs exactly once in a file."""
        file = self.folder / path
        text = file.read_text()
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {path}"
        file.write_text(text.replace(old, new))

    def append(self, module: str, text: str) -> None:
        """Add a line to a module of the package."""
        file = self.folder / f"src/manifold_capacity/{module}.py"
        file.write_text(f"{file.read_text()}\n{text}\n")

    def break_rules(self, *rules: str, fault: str = "raise MemoryError") -> None:
        """Let a fault happen at the start of each job of some rules, as long as there is a file ``break``.

        It happens in a module that counts in no key.
        """
        (self.folder / "break").write_text(f"logs/({'|'.join(rules)})[./]")
        text = f"""
_log_to = log_to


@contextmanager
def log_to(path):
    import os, re

    with _log_to(path) as log:
        if os.path.exists("break") and re.search(open("break").read(), path):
            {fault}
        yield log
"""
        if "_log_to" not in (self.folder / "src/manifold_capacity/logs.py").read_text():
            self.append("logs", text)

    def delete_measurements(self) -> Workspace:
        """Keep dataset, layers and weights, but no activations or anything computed from them."""
        for folder in ("activations", "moments", "geometry"):
            shutil.rmtree(self.results / folder)
        return self

    def twin(self, folder: Path) -> Workspace:
        """A copy of everything, with the files' times."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workspace(folder)


def new_workspace(folder: Path, changes: dict[str, Any] | None = None) -> Workspace:
    folder.mkdir(parents=True, exist_ok=True)
    # With compiled code, which is valid for a source with the same time.
    ignore = shutil.ignore_patterns("*.egg-info")
    for name in WORKING_TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy2(source, folder / name)
    workspace = Workspace(folder)
    workspace.configure(changes)
    return workspace
