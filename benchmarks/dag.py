"""Time and memory that Snakemake takes to plan a large sweep: `snakemake -n` before anything was run.

    python benchmarks/dag.py [--models 10 --seeds 5 --checkpoints 6 --splits 2 --repeat 3] [--max-gib 100] [--profile]

Every model is VGG19 (20 layers: the input, 16 Conv2d, 3 Linear) under a label of its own. The tables of
layers are made beforehand, so that the plan has the jobs of every layer.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def configuration(arguments: argparse.Namespace, results: Path) -> dict:
    """A sweep over models, seeds, checkpoints and splits."""
    epochs = 20
    last = arguments.checkpoints - 1
    return {
        "results": str(results),
        "dataset": {"name": "cifar100"},
        "models": [{"name": "vgg19", "label": f"vgg19-{i}"} for i in range(arguments.models)],
        "seeds": list(range(arguments.seeds)),
        "training": {"epochs": epochs},
        "checkpoints": sorted({round(epochs * i / max(last, 1)) for i in range(last + 1)}),
        "manifolds": {"splits": ["train", "test"][: arguments.splits]},
        "activations": {"keep": False},
    }


def write_tables(config: dict, results: Path) -> None:
    from manifold_capacity.models.find_layers import list_layers
    from manifold_capacity.models.layers import write_layers
    from manifold_capacity.provenance import write_stamp

    layers = list_layers("vgg19", n_classes=100, image_shape=(3, 32, 32))
    (results / "layers").mkdir(parents=True)
    for model in config["models"]:
        table = results / "layers" / f"{model['label']}.csv"
        write_layers(layers, table)
        write_stamp(table.with_suffix(".json"), [table], {})


def plan(folder: Path, arguments: argparse.Namespace) -> tuple[float, int]:
    """Seconds and number of jobs of one dry run."""
    snakemake = [sys.executable, "-m", "snakemake"]
    if arguments.profile:
        snakemake[1:1] = ["-m", "cProfile", "-o", str(folder / "profile")]
    command = [*snakemake, "--dry-run", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--cores", "2", "--quiet", "rules"]
    command += ["--configfile", str(folder / "config.yaml")]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stdout)
    jobs = re.findall(r"^total +(\d+)$", done.stdout, re.MULTILINE)
    return seconds, int(jobs[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("models", 10), ("seeds", 5), ("checkpoints", 6), ("splits", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--max-gib", type=float, help="activations.max_gib")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = configuration(arguments, folder / "results")
        if arguments.max_gib is not None:
            config["activations"]["max_gib"] = arguments.max_gib
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        write_tables(config, folder / "results")
        for _ in range(arguments.repeat):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds, jobs = plan(folder, arguments)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(
                f"{jobs} jobs: {seconds:.1f} s, of which on the CPU {cpu:.1f} s, "
                f"{after.ru_maxrss / 2**20:.2f} GiB ({os.cpu_count()} cores)"
            )
        if arguments.profile:
            import pstats

            pstats.Stats(str(folder / "profile")).sort_stats("tottime").print_stats(45).sort_stats(
                "cumtime"
            ).print_stats(90)


if __name__ == "__main__":
    main()
