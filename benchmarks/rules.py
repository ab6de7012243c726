"""What each rule of a finished run took: wall time, CPU time and memory, from its benchmark files.

    python benchmarks/rules.py results/cifar100_vgg16 [--csv FILE.csv]

Memory is the peak resident set size of a job's largest moment as Snakemake sampled it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd


def rules(results: Path) -> pd.DataFrame:
    """A row per rule, in the order in which the rules first finished."""
    folder = results / "benchmarks"
    files = sorted(folder.rglob("*.tsv"), key=lambda path: path.stat().st_mtime)
    if not files:
        sys.exit(f"{folder} holds no benchmark files; give a finished run's results folder")
    jobs = pd.concat(
        [
            pd.read_csv(path, sep="\t", na_values="-").assign(
                rule=path.relative_to(folder).parts[0].removesuffix(".tsv")
            )
            for path in files
        ],
        ignore_index=True,
    )
    table = jobs.groupby("rule", sort=False).agg(
        jobs=("s", "size"),
        wall_mean_s=("s", "mean"),
        wall_max_s=("s", "max"),
        wall_total_s=("s", "sum"),
        cpu_total_s=("cpu_time", "sum"),
        peak_rss_max_mib=("max_rss", "max"),
    )
    return table.reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    table = rules(arguments.results)
    print(table.round(1).to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
