"""Real runs of the workflow on real images, in copies of the working tree."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

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

# Small enough for seconds, large enough that every step has something to do.
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
        self, *arguments: str, check: bool = True, environment: dict[str, str] | None = None
    ) -> str:
        """Run Snakemake and return what it printed; `environment` adds variables."""
        command = [sys.executable, "-m", "snakemake", *arguments]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if check:
            assert done.returncode == 0, done.stdout
        else:
            assert done.returncode != 0, done.stdout
        return done.stdout

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
        """Replace a text that stands in a file exactly once."""
        file = self.folder / path
        text = file.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        file.write_text(text.replace(old, new))

    def twin(self, folder: Path) -> Workspace:
        """A copy with everything in it, times of files included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workspace(folder)


def new_workspace(folder: Path, changes: dict[str, Any] | None = None) -> Workspace:
    folder.mkdir(parents=True, exist_ok=True)
    # Compiled code comes along: it is found by the time of its source, which the copy keeps.
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
