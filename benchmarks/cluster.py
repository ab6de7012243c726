"""Submissions and wall time on a SLURM, the layers of a run grouped and one by one.

    python benchmarks/cluster.py [--checkpoints 3] [--repeats 3]

Starts the tests' SLURM on this host (tests/cluster says what it needs), runs the digits up to the
activations, and then moments and geometry: once through profiles/slurm as it is, once without its
groups, several times. On one host the nodes share its cores: what counts is the number of
submissions, and what each costs.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests/workflow"), str(ROOT / "tests/cluster")]

from sites import Site, new_site  # noqa: E402
from slurm import Cluster, missing_programs  # noqa: E402


def without_groups(site: Site) -> None:
    profile = site.folder / "profiles/slurm/config.yaml"
    text = profile.read_text()
    for section in ("groups", "group-components"):
        text, n = re.subn(rf"^{section}:\n(?:  .*\n)+", "", text, flags=re.MULTILINE)
        assert n == 1, section
    profile.write_text(text)


def measured(site: Site) -> str:
    """What moments and geometry take: submissions, wall time, and the time of the CPUs they reserve."""
    start = time.perf_counter()
    site.snakemake("geometry")
    seconds = time.perf_counter() - start
    layers, jobs = list((site.results / "geometry").rglob("*.json")), site.jobs()
    numbers = ",".join(str(job.id) for job in jobs)
    ask = ("sacct", "-X", "-P", "-n", "-j", numbers, "-o", "CPUTimeRAW")
    reserved = sum(map(int, (site.cluster.ask(*ask) or "").split()))
    return (
        f"{len(layers)} layers, {len(jobs)} submissions, {seconds:.0f} s, "
        f"{reserved} CPU seconds reserved"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    missing = missing_programs()
    if missing:
        sys.exit(f"no SLURM here: {', '.join(missing)} missing")
    changes = {
        "checkpoints": list(range(arguments.checkpoints)),
        "training.epochs": max(1, arguments.checkpoints - 1),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cluster = Cluster(folder / "cluster")
        try:
            cluster.start()
            prepared = new_site(folder / "prepared", cluster, changes)
            prepared.snakemake("activations")
            for n, what in product(range(arguments.repeats), ("grouped", "one by one")):
                place = folder / f"{what.replace(' ', '-')}-{n}"
                shutil.copytree(prepared.folder, place, symlinks=True)
                site = Site(place, cluster)
                if what == "one by one":
                    without_groups(site)
                print(
                    f"{what:>10}: {measured(site)}; {os.cpu_count()} CPUs, "
                    f"load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
