"""What a run will do before it does it: jobs, time by earlier runs, disk."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from manifold_capacity.activations.grid import store_size
from manifold_capacity.config.choices import class_indices
from manifold_capacity.datasets.prepare import describe
from manifold_capacity.errors import UserError
from manifold_capacity.logs import duration
from manifold_capacity.models.layers import Layer, select_layers

GIB = 2**30


def store_bytes(config: Mapping[str, Any], tables: Mapping[str, Sequence[Layer]]) -> dict[str, int]:
    """Bytes of one store of activations of each model, that is of one checkpoint and split.

    Parameters
    ----------
    config : mapping
        The resolved configuration.
    tables : mapping
        Label of each model -> all its layers.

    Returns
    -------
    dict
        Label of each model -> bytes.
    """
    classes = class_indices(config["manifolds"]["classes"], describe(config["dataset"]))
    return {
        label: store_size(
            select_layers(layers, config["layers"], model=label),
            len(classes),
            config["manifolds"]["points_per_class"] * config["geometry"]["repeats"],
            config["activations"]["dtype"],
            batch_size=config["activations"]["batch_size"],
        ).total
        for label, layers in tables.items()
    }


def stores_at_once(max_gib: float | None, sizes: Mapping[str, int]) -> int | None:
    """How many stores may stand on the disk at once; None if they are not bounded (or there are none).

    Parameters
    ----------
    max_gib : float or None
        `activations.max_gib`.
    sizes : mapping
        Label of each model -> bytes of one of its stores. The largest one counts for all.

    Raises
    ------
    ValueError
        If the largest store alone exceeds the bound.
    """
    if max_gib is None or not sizes:
        return None
    label = max(sizes, key=lambda label: sizes[label])
    if sizes[label] > max_gib * GIB:
        raise UserError(
            f"activations.max_gib: {max_gib:g}, but one store of {label} takes {sizes[label] / GIB:.4g} GiB; "
            f"allowed: {sizes[label] / GIB:.4g} or more, or choose fewer layers (layers), fewer points "
            "(manifolds.points_per_class, geometry.repeats) or activations.dtype: float16"
        )
    return int(max_gib * GIB // sizes[label])


def planned_jobs(
    snakefile: Path,
    config: Mapping[str, Any],
    targets: Sequence[str] = (),
    python: str = sys.executable,
) -> dict[str, int]:
    """Jobs of each rule that a run would start now, in this working directory: a dry run of Snakemake's own.

    Parameters
    ----------
    snakefile : Path
    config : mapping
        What the user wrote, not resolved.
    targets : sequence of str
        What to make; by default everything.
    python : str
        The interpreter that has Snakemake; a job's own environment may lack it.

    Returns
    -------
    dict
        Rule -> number of jobs, in the order of Snakemake's list, targets left out; empty if nothing is to be done.

    Raises
    ------
    RuntimeError
        With what Snakemake printed, if it can't plan.
    """
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, "config.json")
        given.write_text(json.dumps(config), encoding="utf-8")
        command = [python, "-m", "snakemake", *targets, "--snakefile", str(snakefile)]
        command += [
            "--dry-run",
            "--nolock",
            "--cores",
            "1",
            "--quiet",
            "rules",
            "--configfile",
            str(given),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    table = re.search(r"^job +count\n[- ]+\n(.*?)\ntotal", done.stdout, re.MULTILINE | re.DOTALL)
    if done.returncode or (table is None and "Nothing to be done" not in done.stdout):
        raise UserError(f"Snakemake could not plan the run:\n{done.stdout}")
    counts = dict(line.split() for line in table[1].splitlines()) if table else {}
    return {rule: int(n) for rule, n in counts.items() if rule not in ("all", *targets)}


def groups_of_profile(path: Path, more: Mapping[str, str] = {}) -> dict[str, Any] | None:
    """`groups` and `group-components` of a profile of Snakemake; None if there is no such profile.

    Parameters
    ----------
    path : Path
        The profile.
    more : mapping
        Rule -> group of rules that name their group themselves.
    """
    import yaml

    if not path.is_file():
        return None
    profile = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        "groups": {**more, **profile.get("groups", {})},
        "group-components": profile.get("group-components", {}),
    }


def seconds_of_jobs(benchmarks: Path) -> dict[str, tuple[float, int]]:
    """Mean wall time in seconds of each rule's jobs in earlier runs, and how many jobs that is the mean of.

    Parameters
    ----------
    benchmarks : Path
        A folder of Snakemake's benchmark files, `<rule>.tsv` and `<rule>/**/*.tsv`.
    """
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for path in sorted(benchmarks.rglob("*.tsv")):
        rule = path.relative_to(benchmarks).parts[0].removesuffix(".tsv")
        with open(path, newline="", encoding="utf-8") as file:
            seconds[rule] += [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
    return {
        rule: (sum(values) / len(values), len(values)) for rule, values in seconds.items() if values
    }


def submissions(
    jobs: Mapping[str, int],
    profile: Mapping[str, Any],
    layers_per_run: Sequence[int],
    local_rules: Iterable[str] = (),
) -> int:
    """How many jobs a cluster's scheduler gets, where a profile groups some rules.

    Exact where every run has all its layers to do or none of them; else the runs are taken to be done in equal parts.

    Parameters
    ----------
    jobs : mapping
        Rule -> number of jobs.
    profile : mapping
        A profile of Snakemake: `groups` (rule -> group; one with wildcards is a group for each run) and `group-components`.
    layers_per_run : sequence of int
        Number of measured layers of every run of the configuration.
    local_rules : iterable of str
        Rules that are not submitted.
    """
    groups = profile.get("groups", {})
    single = sum(
        n for rule, n in jobs.items() if rule not in groups and rule not in set(local_rules)
    )
    for group in set(groups.values()):
        together = profile.get("group-components", {}).get(group, 1)
        most = max(jobs.get(rule, 0) for rule, name in groups.items() if name == group)
        if "{" in group and most:
            whole = sum(math.ceil(n / together) for n in layers_per_run)
            single += math.ceil(whole * most / sum(layers_per_run))
        else:
            single += math.ceil(most / together)
    return single


def describe_plan(
    jobs: Mapping[str, int],
    seconds: Mapping[str, tuple[float, int]],
    store_sizes: Sequence[int],
    folder: Path,
    *,
    keep: bool,
    at_once: int | None,
    submitted: int | None = None,
) -> str:
    """The plan as text.

    Parameters
    ----------
    jobs : mapping
        As `planned_jobs` gives.
    seconds : mapping
        As `seconds_of_jobs` gives.
    store_sizes : sequence of int
        Bytes of the store of every run of the configuration.
    folder : Path
        Where results go; need not exist yet.
    keep : bool
        Whether stores stay (`activations.keep`).
    at_once : int or None
        As `stores_at_once` gives.
    submitted : int or None
        As `submissions` gives, if there is a profile of a cluster.
    """
    if not jobs:
        return "Nothing to be done: everything is there."
    rows = [("rule", "jobs", "a job", "all of them")]
    known = 0.0
    for rule, n in jobs.items():
        if rule in seconds:
            mean, n_measured = seconds[rule]
            known += mean * n
            rows.append(
                (rule, f"{n:,}", f"{duration(mean)} (mean of {n_measured:,})", duration(mean * n))
            )
        else:
            rows.append((rule, f"{n:,}", "not measured yet", "?"))
    missing = [rule for rule in jobs if rule not in seconds]
    rows.append(
        ("total", f"{sum(jobs.values()):,}", "", duration(known) + (" + ?" if missing else ""))
    )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines += [
        "",
        "Times are those of earlier runs in this folder, as if one job ran after the other.",
    ]
    if submitted is not None:
        lines.append(f"With profiles/slurm: {submitted:,} submissions.")
    lines += _disk(
        jobs.get("extract_activations", 0), sorted(store_sizes, reverse=True), folder, keep, at_once
    )
    return "\n".join(lines)


def _disk(
    n_stores: int, sizes: Sequence[int], folder: Path, keep: bool, at_once: int | None
) -> list[str]:
    """Lines on what the activations take; `sizes` from the largest down."""
    free = shutil.disk_usage(
        next(p for p in [folder, *folder.absolute().parents] if p.exists())
    ).free
    lines = []
    need = 0
    if n_stores:
        each = _gib(sizes[0]) if sizes[0] == sizes[-1] else f"{_gib(sizes[-1])} to {_gib(sizes[0])}"
        standing = n_stores if at_once is None else min(n_stores, at_once)
        need = sum(sizes[:standing])
        if keep:
            why = "they stay (activations.keep: true)"
        elif at_once is None:
            why = "fewer if their moments keep pace; activations.max_gib bounds it"
        else:
            why = "bounded by activations.max_gib"
        lines.append(
            f"Activations: {n_stores:,} runs of {each} each, {_gib(sum(sizes[:n_stores]))} in all."
        )
        lines.append(f"At most {_gib(need)} at one time: {why}.")
    lines.append(f"Free on the disk of {folder}: {_gib(free)}.")
    if need > free:
        lines.append(
            "NOT ENOUGH: set activations.keep: false with activations.max_gib, or results to a folder on a larger disk, or "
            "choose fewer layers (layers) or points (manifolds.points_per_class)."
        )
    return lines


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / GIB:,.3g} GiB" if n_bytes < 1000 * GIB else f"{n_bytes / GIB:,.0f} GiB"
