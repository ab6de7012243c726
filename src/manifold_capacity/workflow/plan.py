"""What a run will do before it starts: jobs, time by earlier runs, disk space."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from manifold_capacity.activations.parts import GIB
from manifold_capacity.errors import UserError
from manifold_capacity.logs import duration


def planned_jobs(snakefile: Path, config: Mapping[str, Any], python: str) -> dict[str, int]:
    """Number of jobs of each rule that a run would start now in this folder, in Snakemake's order.

    Only Snakemake knows what an edit or a missing file makes it run again, so this is a dry run.

    Parameters
    ----------
    snakefile : Path
    config : mapping
        The configuration as the user wrote it, with paths relative to the working directory.
    python : str
        The interpreter that has Snakemake; a job's own environment may lack it.

    Raises
    ------
    UserError
        With Snakemake's output, if it cannot plan the run.
    """
    # Here, because paths in a configuration are relative to its folder.
    with tempfile.NamedTemporaryFile("w", prefix=".plan-", suffix=".json", dir=".") as given:
        json.dump(config, given)
        given.flush()
        command = [python, "-m", "snakemake", "--snakefile", str(snakefile)]
        command += ["--dry-run", "--nolock", "--cores", "1", "--quiet", "rules"]
        command += ["--configfile", given.name]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    table = re.search(r"^job +count\n[- ]+\n(.*?)\ntotal", done.stdout, re.MULTILINE | re.DOTALL)
    if done.returncode or (table is None and "Nothing to be done" not in done.stdout):
        raise UserError(f"Snakemake could not plan the run:\n{done.stdout}")
    counts = dict(line.split() for line in table[1].splitlines()) if table else {}
    return {rule: int(n) for rule, n in counts.items() if rule != "all"}


def groups_of_profile(path: Path, groups: Mapping[str, str]) -> dict[str, Any] | None:
    """`groups` and `group-components` of a Snakemake profile; None if there is no such file.

    Parameters
    ----------
    path : Path
        The profile.
    groups : mapping
        Rule -> group, of rules that name their group themselves.
    """
    import yaml

    if not path.is_file():
        return None
    profile = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        "groups": {**groups, **profile.get("groups", {})},
        "group-components": profile.get("group-components", {}),
    }


def seconds_of_jobs(benchmarks: Path) -> dict[str, tuple[float, int]]:
    """Rule -> mean wall time in seconds of its jobs in earlier runs, and the number of these jobs.

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
    local_rules: Collection[str] = (),
) -> int:
    """Number of jobs that are submitted to a cluster's scheduler with a profile that groups some rules.

    Exact if every run has either all its layers to do or none; otherwise an estimate, as if all runs were
    equally far.

    Parameters
    ----------
    jobs : mapping
        Rule -> number of jobs.
    profile : mapping
        `groups` (rule -> group; one with wildcards is a group for each run) and `group-components` of a
        Snakemake profile.
    layers_per_run : sequence of int
        Number of measured layers of every run of the configuration.
    local_rules : collection of str
        Rules that are not submitted.
    """
    groups, components = profile.get("groups", {}), profile.get("group-components", {})
    total = sum(n for rule, n in jobs.items() if rule not in groups and rule not in local_rules)
    for group in set(groups.values()):
        size = components.get(group, 1)
        most = max(jobs.get(rule, 0) for rule, name in groups.items() if name == group)
        if "{" in group and most:
            all_runs = sum(math.ceil(n / size) for n in layers_per_run)
            total += math.ceil(all_runs * most / sum(layers_per_run))
        else:
            total += math.ceil(most / size)
    return total


def describe_plan(
    jobs: Mapping[str, int],
    seconds: Mapping[str, tuple[float, int]],
    store_sizes: Sequence[int],
    folder: Path,
    *,
    keep: bool,
    at_once: int | None,
    submitted: int | None = None,
    gram_bytes: int = 0,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The plan as text.

    Parameters
    ----------
    jobs : mapping
        From `planned_jobs`.
    seconds : mapping
        From `seconds_of_jobs`.
    store_sizes : sequence of int
        Bytes of every store of the configuration's runs.
    folder : Path
        The results folder; need not exist yet.
    keep : bool
        Whether stores are kept (`activations.keep`).
    at_once : int or None
        From `stores_at_once`.
    submitted : int or None
        From `submissions`, if there is a profile of a cluster.
    gram_bytes : int
        Size of one file of inner products, for the exact capacity; they are kept.
    groups : mapping, optional
        Label of a model -> its groups of layers, each in words; one that needs no groups is left out.
    """
    if not jobs:
        return "Nothing to be done: all results are there."
    rows = [("rule", "jobs", "a job", "all jobs")]
    known = 0.0
    for rule, n in jobs.items():
        each, together = "not measured yet", "?"
        if rule in seconds:
            mean, n_measured = seconds[rule]
            known += mean * n
            each, together = f"{duration(mean)} (mean of {n_measured:,})", duration(mean * n)
        rows.append((rule, f"{n:,}", each, together))
    unknown = "" if jobs.keys() <= seconds.keys() else " + ?"
    rows.append(("total", f"{sum(jobs.values()):,}", "", duration(known) + unknown))
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [
        "  ".join([rule.ljust(first), *map(str.rjust, cells, others)]) for rule, *cells in rows
    ]
    lines += [
        "",
        "Times are means of earlier runs in this folder, as if jobs ran one after another.",
    ]
    if "measure_geometry" in jobs.keys() - seconds.keys():
        lines.append(
            "As a rule, a layer takes 2 to 5 seconds of one core from its activations to its geometry."
        )
    if submitted is not None:
        lines.append(f"With profiles/slurm: {submitted:,} submissions.")
    n_stores, sizes = jobs.get("extract_activations", 0), sorted(store_sizes, reverse=True)
    n_grams = jobs.get("compute_gram", 0)
    if n_stores:
        lines += [
            f"{model}: {len(each)} groups of layers, with a forward pass and a store each: {', '.join(each)}."
            for model, each in (groups or {}).items()
        ]
    return "\n".join([*lines, *_disk(n_stores, sizes, folder, keep, at_once, n_grams, gram_bytes)])


def _disk(
    n_stores: int,
    sizes: Sequence[int],
    folder: Path,
    keep: bool,
    at_once: int | None,
    n_grams: int,
    gram_bytes: int,
) -> list[str]:
    """Lines about the disk space of activations and inner products; `sizes` in descending order."""
    parent = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    free, need, lines = shutil.disk_usage(parent).free, 0, []
    if n_grams:
        grams = f"{n_grams:,} files of {_gib(gram_bytes)} each, {_gib(n_grams * gram_bytes)} in all"
        lines.append(f"Inner products, for the exact capacity: {grams}; they are kept.")
    if n_stores:
        each = _gib(sizes[0]) if sizes[0] == sizes[-1] else f"{_gib(sizes[-1])} to {_gib(sizes[0])}"
        need = sum(sizes[: n_stores if at_once is None else min(n_stores, at_once)])
        if keep:
            why = "they are kept (activations.keep: true)"
        elif at_once is None:
            why = "fewer if the moments keep pace; activations.max_gib limits it"
        else:
            why = "limited by activations.max_gib"
        total = _gib(sum(sizes[:n_stores]))
        lines += [
            f"Activations: {n_stores:,} stores of {each} each, {total} in all.",
            f"At most {_gib(need)} at one time: {why}.",
        ]
    need += n_grams * gram_bytes
    lines.append(f"Free on the disk of {folder}: {_gib(free)}.")
    if need > free:
        lines.append(
            "NOT ENOUGH: set activations.keep: false with activations.max_gib, or results to a folder on a "
            "larger disk, or choose fewer layers (layers) or points (manifolds.points_per_class)."
        )
    return lines


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / GIB:,.3g} GiB" if n_bytes < 1000 * GIB else f"{n_bytes / GIB:,.0f} GiB"
