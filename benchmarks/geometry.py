"""Time and memory of the geometry, on real images, beside cvxopt and scipy on the same problems.

    python benchmarks/geometry.py                          # bundled digits, a minute
    python benchmarks/geometry.py --images train.npz       # arrays X (n, ...) and y (n,)
    python benchmarks/geometry.py --images cifar100/train  # a folder of class folders of images

Prints its tables and writes them to --output: geometry.csv (speed), growth.csv and growth.svg (how
the times grow with points, manifolds, features and Gaussian samples). A number is the least of the
repetitions; the largest is beside it, since other work on the machine only ever adds time.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from geometry_inputs import WIDE_FEATURES, Images, Table, machine, process, timed
from scipy.optimize import nnls

from manifold_capacity.geometry.anchors import points_from_gram, sample_anchors
from manifold_capacity.geometry.centers import ProjectedMoments, fit_centers
from manifold_capacity.geometry.measure import (
    find_centers,
    gaussian_samples,
    solve_manifolds,
)
from manifold_capacity.geometry.moments import Moments, moments_from_arrays

N_GAUSSIANS = 300
# Problems given to the slow solvers: a sample of those that the fast one gets.
N_CVXOPT = 200
N_NNLS = 1000


def cvxopt_as_the_reference(points: np.ndarray, gaussians: np.ndarray) -> np.ndarray:
    """1 / alpha of each sample by cvxopt on the primal problem, at its default tolerances."""
    from cvxopt import matrix, solvers

    augmented = np.column_stack([points, np.ones(len(points))])
    values = np.zeros(len(gaussians))
    for i, t in enumerate(gaussians):
        if (augmented @ t).max() <= 0:
            continue
        result = solvers.qp(
            matrix(np.eye(len(t))),
            matrix(-t),
            matrix(augmented),
            matrix(np.zeros(len(points))),
            options={"show_progress": False},
        )
        values[i] = ((np.array(result["x"])[:, 0] - t) ** 2).sum()
    return values


def nnls_by_scipy(points: np.ndarray, gaussians: np.ndarray) -> np.ndarray:
    augmented = np.column_stack([points, np.ones(len(points))]).T
    return np.array([((augmented @ nnls(augmented, t)[0]) ** 2).sum() for t in gaussians])


# Peak memory of a process since `reset`, without what it inherited from this one.
MEMORY = """
import json, sys, time
import numpy as np
def reset():
    open("/proc/self/clear_refs", "w").write("5")
    return status("VmRSS")
def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(x for x in lines if x.startswith(name)).split()[1]) / 1024
"""
CENTERS = (
    MEMORY
    + """
from manifold_capacity.geometry.centers import ProjectedMoments, fit_centers
gram = np.load(sys.argv[1])
before, wall, cpu = reset(), time.perf_counter(), time.process_time()
fit = fit_centers(gram)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps({"s": wall, "cpu": cpu, "mib": status("VmHWM") - before, "rank": fit.rank,
                  "tried": len(fit.correlations) - 1, "converged": fit.converged}))
"""
)
MOMENTS = (
    MEMORY
    + """
from manifold_capacity.geometry.moments import moments_from_arrays
points = np.load(sys.argv[1])
before, wall, cpu = reset(), time.perf_counter(), time.process_time()
moments_from_arrays(points)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps({"s": wall, "cpu": cpu, "mib": status("VmHWM") - before}))
"""
)
# What scripts/measure_geometry.py imports and does.
JOB = """
import json, sys
from manifold_capacity import logs, provenance
from manifold_capacity.geometry.draws import combine_columns
from manifold_capacity.geometry.measure import geometry_from_moments
from manifold_capacity.geometry.moments import Moments
from manifold_capacity.models.selection import read_selected
from manifold_capacity.summary import rows
row, columns = combine_columns([geometry_from_moments(Moments.load(sys.argv[1]))])
rows.write_columns(columns, sys.argv[2])
open(sys.argv[3], "w").write(json.dumps(row))
"""


def first(
    moments: Moments, projected: ProjectedMoments, n_manifolds: int
) -> tuple[Moments, ProjectedMoments]:
    """The first manifolds, as all of them together were projected."""
    some = slice(0, n_manifolds)
    return (
        replace(
            moments,
            n_points=moments.n_points[some],
            deviation_gram=moments.deviation_gram[some],
        ),
        replace(
            projected,
            deviation_gram=projected.deviation_gram[some],
            center_norm=projected.center_norm[some],
            projected_center_norm=projected.projected_center_norm[some],
        ),
    )


def bench_anchors(
    table: Table, images: Images, settings: list[tuple[int, int]], repeats: int
) -> None:
    for n_points, n_manifolds in settings:
        manifolds = images.manifolds(len(images.classes), n_points)
        if manifolds is None:
            print(f"skipped: m = {n_points} is more than the images give")
            continue
        setting = f"{n_manifolds} manifolds, m = {n_points}, n = {N_GAUSSIANS}"
        moments = moments_from_arrays(manifolds)
        _, projected = find_centers(moments, seed=0)
        moments, projected = first(moments, projected, n_manifolds)
        draw = gaussian_samples(0, N_GAUSSIANS)
        n_problems = n_manifolds * N_GAUSSIANS
        for threads in (2, 1):
            solve = partial(solve_manifolds, moments, projected, draw, 0.0, "active_set", threads)
            solve()  # compiles
            wall, _, _ = timed(solve, 3 * repeats)
            table.add(f"anchors, {threads} thread(s), wall", setting, wall, "s")
            if threads == 2:
                two_threads = min(wall)
        one_thread = [1e6 * x / n_problems for x in wall]
        ours_us = table.add("anchors, one problem", setting, one_thread, "us")
        # The other solvers, on a sample of the same problems; one problem in m from each manifold.
        sample = np.linspace(0, n_manifolds - 1, min(10, n_manifolds)).astype(int)
        problems = []
        for i in sample:
            dimension = min(moments.n_features, n_points)
            gram = projected.deviation_gram[i]
            points = points_from_gram(gram, dimension, 1e-13 * gram.diagonal().max())
            problems.append((points, draw(i, dimension)))
        for name, solver, n_solved in (
            ("scipy.optimize.nnls", nnls_by_scipy, N_NNLS if n_points < 300 else 20),
            (
                "cvxopt, as the reference",
                cvxopt_as_the_reference,
                N_CVXOPT if n_points < 300 else 10,
            ),
        ):
            each = max(1, n_solved // len(problems))
            wall, _, values = timed(
                partial(_solve_each, solver, problems, each), repeats if n_points < 300 else 1
            )
            exact = [
                sample_anchors(points, gaussians).inverse_capacity[:each]
                for points, gaussians in problems
            ]
            error = np.abs(np.array(values) - exact).max() / np.mean(exact)
            each_us = table.add(
                f"{name}, one problem",
                setting,
                [1e6 * x / (each * len(problems)) for x in wall],
                "us",
                f"{each * len(problems)} problems, values differ by {error:.0e} at most",
            )
            table.add(f"{name} / ours, 1 thread", setting, [each_us / ours_us], "times")
            ratio = each_us / (1e6 * two_threads / n_problems)
            table.add(f"{name} / ours, 2 threads", setting, [ratio], "times")


def _solve_each(
    solver: Callable[[np.ndarray, np.ndarray], np.ndarray],
    problems: list[tuple[np.ndarray, np.ndarray]],
    each: int,
) -> list[np.ndarray]:
    return [solver(points, gaussians[:each]) for points, gaussians in problems]


def bench_centers(table: Table, images: Images, counts: list[int], repeats: int) -> None:
    for n_manifolds in counts:
        manifolds = images.manifolds(n_manifolds, min(50, images.most_points))
        if manifolds is None:
            print(f"skipped: {n_manifolds} manifolds are more than the images give")
            continue
        gram = moments_from_arrays(manifolds).center_gram
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            np.save(file.name, gram)
            runs = [process(CENTERS, file.name) for _ in range(repeats if n_manifolds < 500 else 2)]
        setting = f"P = {n_manifolds}"
        note = f"K = {runs[0]['rank']:.0f} of {runs[0]['tried']:.0f} tried"
        table.add("centers, wall", setting, [r["s"] for r in runs], "s", note)
        table.add("centers, CPU", setting, [r["cpu"] for r in runs], "s")
        table.add("centers, memory beyond the input", setting, [r["mib"] for r in runs], "MiB")


def bench_moments(
    table: Table, images: Images, n_manifolds: int, n_points: int, repeats: int
) -> None:
    narrow = images.manifolds(n_manifolds, n_points)
    assert narrow is not None
    wall, cpu, _ = timed(lambda: moments_from_arrays(narrow), repeats)
    setting = f"P = {n_manifolds}, m = {n_points}, N = {narrow.shape[2]}"
    table.add("moments, wall", setting, wall, "s")
    table.add("moments, CPU", setting, cpu, "s")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "wide.npy"))
        np.save(path, images.wide(n_manifolds, n_points))
        runs = [process(MOMENTS, path) for _ in range(repeats)]
    setting = f"P = {n_manifolds}, m = {n_points}, N = {WIDE_FEATURES}, float32"
    table.add("moments, wall", setting, [r["s"] for r in runs], "s")
    table.add("moments, CPU", setting, [r["cpu"] for r in runs], "s")
    table.add("moments, memory beyond the input", setting, [r["mib"] for r in runs], "MiB")


def bench_job(table: Table, images: Images, n_manifolds: int, n_points: int, repeats: int) -> None:
    manifolds = images.manifolds(n_manifolds, n_points)
    assert manifolds is not None
    setting = f"P = {n_manifolds}, m = {n_points}, N = {manifolds.shape[2]}"
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, name)) for name in ("moments.npz", "manifolds.csv", "layer.json")]
        moments_from_arrays(manifolds).save(paths[0])
        cache = {"NUMBA_CACHE_DIR": str(Path(folder, "cache"))}
        first = process(JOB, *paths, environment=cache)["wall"]
        table.add("geometry job, first process ever", setting, [first], "s", "compiles")
        runs = [process(JOB, *paths, environment=cache)["wall"] for _ in range(repeats)]
        table.add("geometry job, process start to tables", setting, runs, "s")
    from manifold_capacity import measure

    wall, cpu, _ = timed(lambda: measure(manifolds), repeats)
    table.add("measure(): moments, centers and anchors, wall", setting, wall, "s")
    table.add("measure(): moments, centers and anchors, CPU", setting, cpu, "s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    table.add("peak memory of this process so far", setting, [peak], "MiB")


def bench_growth(table: Table, images: Images, repeats: int) -> None:
    """Seconds of each step as one size grows, the others as in the default setting."""
    most = len(images.classes)
    base_points = min(50, images.most_points)

    def anchors(moments: Moments, n_gaussians: int, n_manifolds: int) -> list[float]:
        _, projected = find_centers(moments, seed=0)
        moments, projected = first(moments, projected, n_manifolds)
        draw = gaussian_samples(0, n_gaussians)
        wall, _, _ = timed(
            lambda: solve_manifolds(moments, projected, draw, 0.0, "active_set", 1), repeats
        )
        return wall

    for n_points in (5, 10, 20, 50, 100, 200, 500):
        manifolds = images.manifolds(most, n_points)
        if manifolds is not None:
            n_solved = min(most, 10 if n_points < 200 else 3)
            wall = anchors(moments_from_arrays(manifolds), N_GAUSSIANS, n_solved)
            per_problem = [1e6 * x / n_solved / N_GAUSSIANS for x in wall]
            table.add("anchors against points", str(n_points), per_problem, "us")
    for n_manifolds in (5, 10, 20, 50, 100, 200, 500, 1000):
        manifolds = images.manifolds(n_manifolds, base_points)
        if manifolds is not None:
            gram = moments_from_arrays(manifolds).center_gram
            wall, _, _ = timed(partial(fit_centers, gram), repeats if n_manifolds < 500 else 1)
            table.add("centers against manifolds", str(n_manifolds), wall, "s")
    wide = images.wide(most, base_points)
    for n_features in (256, 1024, 4096, 16_384, 65_536):
        part = wide[:, :, :n_features]
        wall, _, _ = timed(partial(moments_from_arrays, part), repeats)
        table.add("moments against features", str(n_features), wall, "s")
    moments = moments_from_arrays(wide[:, :, :4096])
    for n_gaussians in (30, 100, 300, 1000, 3000):
        table.add(
            "anchors against samples", str(n_gaussians), anchors(moments, n_gaussians, most), "s"
        )


def plot_growth(table: Table, path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    frame = pd.DataFrame(table.rows)
    panels = (
        ("anchors against points", "points per manifold m", "anchors: µs per problem"),
        ("centers against manifolds", "manifolds P", "centers: s"),
        ("moments against features", "features N", "moments: s"),
        ("anchors against samples", "Gaussian samples per manifold", "anchors: s"),
    )
    figure, axes = plt.subplots(1, 4, figsize=(12, 2.9), layout="constrained")
    for axis, (what, xlabel, ylabel) in zip(axes, panels, strict=True):
        rows = frame[frame["what"] == what]
        x = rows["setting"].astype(float)
        axis.fill_between(x, rows["value"], rows["largest"], alpha=0.25, linewidth=0)
        axis.plot(x, rows["value"], "o-", markersize=3.5)
        axis.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", help=".npz with X and y, or a folder of class folders")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--repeats", type=int, default=3)
    parts = ("anchors", "centers", "moments", "job", "growth")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    images = Images(arguments.images)
    n_manifolds, n_points = len(images.classes), min(50, images.most_points)
    print(machine())
    print(f"images: {images.name}, {n_manifolds} classes, {images.shape}")
    repeats = arguments.repeats
    table = Table()
    if "anchors" in arguments.parts:
        bench_anchors(table, images, [(n_points, n_manifolds), (500, 5)], repeats)
    if "centers" in arguments.parts:
        bench_centers(table, images, [n_manifolds, 200, 500, 1000], repeats)
    if "moments" in arguments.parts:
        bench_moments(table, images, n_manifolds, n_points, repeats)
    if "job" in arguments.parts:
        bench_job(table, images, n_manifolds, n_points, repeats)
    if table.rows:
        table.write(arguments.output / "geometry.csv")
    if "growth" in arguments.parts:
        growth = Table()
        bench_growth(growth, images, repeats)
        growth.write(arguments.output / "growth.csv")
        plot_growth(growth, arguments.output / "growth.svg")
    (arguments.output / "machine.txt").write_text(machine() + "\n")


if __name__ == "__main__":
    main()
