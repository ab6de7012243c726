"""Time of exact capacity and correlated geometry (GLUE), on real images and on layers made of them.

    python benchmarks/glue.py                          # bundled digits
    python benchmarks/glue.py --images train.npz       # arrays X (n, ...) and y (n,)
    python benchmarks/glue.py --images cifar100/train  # a folder of class folders of images

Prints its tables and writes them to --output as glue.csv. A layer "relu" is a random layer of
rectified units on the images, "clouds" are rectified clouds around random centers, as after training.
Each number is the least of the repetitions, the largest beside it; CPU seconds do not depend on other
work on the machine as much. --parts penalty measures the constants of the guess.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from geometry_inputs import Images, Table, machine, timed
from numpy.typing import NDArray

from manifold_capacity.geometry import cone_solver
from manifold_capacity.geometry.cones import different_points
from manifold_capacity.geometry.glue import glue_from_gram
from manifold_capacity.geometry.gram import gram_from_arrays

N_SAMPLES = 300
Layer = NDArray[np.float32]


def relu(points: Layer, n_features: int) -> Layer:
    """A random layer of rectified units."""
    centered = points - points.mean(axis=(0, 1))
    weights = np.random.default_rng(5).standard_normal((points.shape[2], n_features))
    return np.maximum(centered @ weights.astype(np.float32), 0)


def clouds(n_manifolds: int, n_points: int, n_features: int, spread: float = 0.55) -> Layer:
    """Rectified projections of clouds around random centers in 512 dimensions."""
    rng = np.random.default_rng(5)
    centers = rng.standard_normal((n_manifolds, 1, 512), dtype=np.float32)
    points = centers + spread * rng.standard_normal((n_manifolds, n_points, 512), dtype=np.float32)
    return np.maximum(points @ rng.standard_normal((512, n_features), dtype=np.float32), 0)


def layers(images: Images, largest: bool) -> Iterator[tuple[str, Layer]]:
    for n_manifolds, n_points in ((10, 50), (20, 50), (60, 20), (100, 50)):
        if n_manifolds * n_points > 2000 and not largest:
            continue
        points = images.manifolds(n_manifolds, n_points)
        if points is not None:
            yield f"images {n_manifolds} x {n_points}", points
            if n_points == 50:
                yield f"relu {n_manifolds} x 50, N = 512", relu(points, 512)
    for n_features in (512, 2048, 4096):
        yield f"clouds 100 x 50, N = {n_features}", clouds(100, 50, n_features)


def bench_layers(table: Table, images: Images, repeats: int, largest: bool) -> None:
    for name, points in layers(images, largest):
        wall, cpu, gram = timed(lambda points=points: gram_from_arrays(points), repeats)
        table.add("Gram matrix, wall", name, wall, "s")
        table.add("Gram matrix, CPU", name, cpu, "s")
        wall, cpu, glue = timed(
            lambda gram=gram: glue_from_gram(gram, n_samples=N_SAMPLES), repeats
        )
        note = f"{glue.n_samples} samples, k = {glue.samples.support.mean():.0f} of {glue.rank}"
        table.add("glue, wall", name, wall, "s", note)
        table.add("glue, CPU", name, cpu, "s", f"gap {glue.worst_gap:.0e}")


def bench_cvxopt(table: Table, images: Images) -> None:
    """The same samples by cvxopt's interior-point method, and how much longer it takes."""
    for n_manifolds, n_points, n_samples in ((10, 50, 20), (20, 50, 5)):
        points = images.manifolds(n_manifolds, n_points)
        if points is None:
            continue
        name, gram = f"images {n_manifolds} x {n_points}", gram_from_arrays(points)
        spent = {}
        for solver, n in (("active_set", N_SAMPLES), ("cvxopt", n_samples)):
            _, cpu, _ = timed(
                lambda n=n, solver=solver, gram=gram: glue_from_gram(
                    gram, n_samples=n, solver=solver
                ),
                1,
            )
            spent[solver] = cpu[0] / n
            table.add(
                f"glue, CPU per sample, {solver}", name, [1e3 * spent[solver]], "ms", f"n = {n}"
            )
        table.add("cvxopt / active_set", name, [spent["cvxopt"] / spent["active_set"]], "times")


def bench_penalty(table: Table, images: Images) -> None:
    """CPU time of a guess and a solution per sample, by penalty and by when the guess ends."""
    for name, points in layers(images, largest=False):
        if name.startswith("clouds"):
            continue
        unit = different_points(gram_from_arrays(points))
        rng = np.random.default_rng(0)
        labels = rng.choice([-1.0, 1.0], size=(32, len(points)))
        vectors = rng.standard_normal((32, unit.rank))
        for penalty in (0.05, 0.1, 0.2, 0.3, 0.4, 0.8, 1.6):
            for settled in (0.02, 0.004, 0.001):
                cone_solver._PENALTY, cone_solver._SETTLED = penalty, settled
                solver = cone_solver.ConeSolver(unit, threads=1)
                solver.project(labels[:2], vectors[:2])  # also decides about guesses
                start = time.process_time()
                solver.project(labels, vectors)
                spent = 1e3 * (time.process_time() - start) / len(labels)
                table.add(f"penalty {penalty}, settled {settled}", name, [spent], "ms/sample")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", help=".npz with X and y, or a folder of class folders")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--largest", action="store_true", help="also 100 x 50 images: minutes")
    parser.add_argument(
        "--parts", nargs="+", choices=("layers", "cvxopt", "penalty"), default=("layers",)
    )
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    images, table = Images(arguments.images), Table()
    print(machine())
    print(f"images: {images.name}, {len(images.classes)} classes, {images.shape}")
    warnings.simplefilter("ignore", RuntimeWarning)  # layers that are never separable
    glue_from_gram(gram_from_arrays(np.eye(20).reshape(4, 5, 20)), n_samples=20)  # compiles
    if "layers" in arguments.parts:
        bench_layers(table, images, arguments.repeats, arguments.largest)
    if "cvxopt" in arguments.parts:
        bench_cvxopt(table, images)
    if "penalty" in arguments.parts:
        bench_penalty(table, images)
    table.write(arguments.output / "glue.csv")


if __name__ == "__main__":
    main()
