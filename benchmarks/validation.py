"""What docs/validation.md rests on: the reference's results, simulated capacity, and the Gaussian samples' errors.

    python benchmarks/validation.py golden                # layers of tests/data/golden
    python benchmarks/validation.py draws train.npz       # CIFAR-100: X (n, 32, 32, 3), y (n,)
    python benchmarks/validation.py coverage [train.npz]  # any images; the digits by default
    python benchmarks/validation.py simulated LAYERS.csv ...  # runs with geometry.simulated

Each prints a table in Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from manifold_capacity import measure
from manifold_capacity.geometry.centers import ProjectedMoments
from manifold_capacity.geometry.measure import (
    find_centers,
    gaussian_samples,
    solve_manifolds,
)
from manifold_capacity.geometry.moments import Moments, moments_from_arrays
from manifold_capacity.geometry.result import Geometry

GOLDEN = Path(__file__).parents[1] / "tests" / "data" / "golden"
QUANTITIES = ("capacity", "radius", "dimension")
# Order of the columns of the files' `reference` rows.
REFERENCE = (*QUANTITIES, "center_correlation", "center_rank", "median radius", "largest radius")


def print_table(header: Sequence[str], rows: list[Sequence[object]]) -> None:
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")


def digits(value: float, error: float | None = None) -> str:
    """As many as the error leaves, two of its own."""
    if error is None or not error > 1e-12 * abs(value):
        return f"{value:.4g}"
    places = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{places}f} ± {error:.{places}f}"


def layer_numbers(result: Geometry) -> list[float]:
    summary = result.summary()
    return [
        *(float(summary[name]) for name in REFERENCE[:5]),
        float(np.median(result.radius)),
        float(result.radius.max()),
    ]


def load_golden(path: Path) -> list[np.ndarray]:
    data = np.load(path)
    if "images" in data:
        return [images.reshape(len(images), -1) / 255 for images in data["images"]]
    return [data[name] for name in sorted(data.files) if name.startswith("cloud")]


def golden() -> None:
    """Our numbers beside the reference implementation's, both over seeds: mean ± deviation."""
    rows = []
    for name in ("pixels", "clouds", "degenerate"):
        manifolds = load_golden(GOLDEN / f"{name}.npz")
        ours = np.array([layer_numbers(measure(manifolds, seed=seed)) for seed in range(5)])
        data = np.load(GOLDEN / f"{name}.npz")
        reference = data.get("reference")
        for i, quantity in enumerate(REFERENCE):
            mine = digits(ours[:, i].mean(), ours[:, i].std(ddof=1))
            if reference is None:
                rows.append((name, quantity, "", mine, ""))
                continue
            theirs = reference[:, i]
            difference = ours[:, i].mean() / theirs.mean() - 1
            rows.append(
                (
                    name,
                    quantity,
                    digits(theirs.mean(), theirs.std(ddof=1)),
                    mine,
                    f"{difference:+.2%}",
                )
            )
    print_table(("input", "quantity", "reference", "here", "difference"), rows)


def draws(path: Path) -> None:
    """Three draws of 50 augmented training images of each of 100 classes."""
    import torch

    from manifold_capacity.models.augment import augment_batch

    data = np.load(path)
    images, labels = data["X"], data["y"]
    rows = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        index = [
            rng.choice(np.flatnonzero(labels == c), 50, replace=False) for c in np.unique(labels)
        ]
        batch = torch.from_numpy(images[np.concatenate(index)]).permute(0, 3, 1, 2)
        batch = augment_batch(
            batch,
            torch.Generator().manual_seed(seed),
            crop_padding=4,
            horizontal_flip=True,
            rotation_degrees=15,
        )
        points = batch.reshape(len(index), 50, -1).numpy().astype(np.float32) / 255
        summary = measure(points, seed=seed).summary()
        rows.append(
            (
                seed,
                *(
                    digits(float(summary[name]), float(summary[f"{name}_gaussian_stderr"]))
                    for name in QUANTITIES
                ),
                digits(float(summary["center_correlation"])),
                summary["center_rank"],
            )
        )
    print_table(("draw", *QUANTITIES, "center correlation", "K"), rows)


def coverage(path: Path | None) -> None:
    """How often the stated 95 % intervals hold what 200,000 samples give."""
    if path is None:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
    else:
        data = np.load(path)
        images, labels = data["X"].reshape(len(data["y"]), -1) / 255, data["y"]
    classes = np.unique(labels)[:20]
    moments = moments_from_arrays([images[labels == c][:30] for c in classes])
    _, projected = find_centers(moments, seed=0)
    n_repetitions = 400
    rows = []
    for margin in (0.0, 0.5):
        truth = Repetition(moments, projected, 10**6, 200_000, margin)
        for n_gaussians in (100, 300, 1000):
            repetitions = [
                Repetition(moments, projected, seed, n_gaussians, margin)
                for seed in range(n_repetitions)
            ]
            for name in QUANTITIES:
                manifold = [r.covers(truth, name) for r in repetitions]
                layer = [r.layer_covers(truth, name) for r in repetitions]
                rows.append(
                    (margin, n_gaussians, name, f"{np.mean(manifold):.1%}", f"{np.mean(layer):.1%}")
                )
    print_table(("margin", "samples", "quantity", "manifolds' intervals", "layer's interval"), rows)


class Repetition:
    """One draw of Gaussian samples for every manifold, as `measure` evaluates it."""

    def __init__(
        self,
        moments: Moments,
        projected: ProjectedMoments,
        seed: int,
        n_gaussians: int,
        margin: float,
    ) -> None:
        results = solve_manifolds(
            moments, projected, gaussian_samples(seed, n_gaussians), margin, "active_set", 1
        )
        self.value = {q: np.array([getattr(r, q) for r in results]) for q in QUANTITIES}
        self.error = {q: np.array([getattr(r, f"{q}_stderr") for r in results]) for q in QUANTITIES}
        correction = np.sqrt(n_gaussians / (n_gaussians - 1))
        self.value["radius"] *= correction
        self.error["radius"] *= correction

    def covers(self, truth: Repetition, name: str) -> np.ndarray:
        return np.abs(self.value[name] - truth.value[name]) < 1.96 * self.error[name]

    def layer(self, name: str) -> tuple[float, float]:
        value, error = self.value[name], self.error[name]
        if name == "capacity":
            mean = 1 / np.mean(1 / value)
            return mean, mean**2 * np.sqrt(((error / value**2) ** 2).sum()) / len(value)
        return value.mean(), np.sqrt((error**2).sum()) / len(value)

    def layer_covers(self, truth: Repetition, name: str) -> bool:
        value, error = self.layer(name)
        return bool(abs(value - truth.layer(name)[0]) < 1.96 * error)


def simulated(paths: list[Path]) -> None:
    """Mean-field capacity of runs' layers beside the simulated one."""
    frame = pd.concat(map(pd.read_csv, paths))
    # The input is the same at every epoch.
    frame = frame[(frame["layer_index"] > 0) | (frame["epoch"] == 0)]
    rows = []
    for row in frame.itertuples():
        found = row.simulated_capacity
        rows.append(
            (
                f"{row.n_manifolds} x {row.n_points // row.n_manifolds}",
                row.epoch,
                f"{row.layer_index} {row.layer_type}",
                row.n_features,
                digits(row.capacity, row.capacity_gaussian_stderr),
                digits(found, row.simulated_capacity_stderr) if np.isfinite(found) else "none",
                f"{found / row.capacity - 1:+.1%}" if np.isfinite(found) else "",
            )
        )
    header = (
        "manifolds x points",
        "epoch",
        "layer",
        "features",
        "mean-field",
        "simulated",
        "difference",
    )
    print_table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("part", choices=("golden", "draws", "coverage", "simulated"))
    parser.add_argument("paths", type=Path, nargs="*")
    arguments = parser.parse_args()
    paths = arguments.paths
    if arguments.part in ("draws", "simulated") and not paths:
        parser.error(f"{arguments.part} needs a path")
    if arguments.part == "golden":
        golden()
    elif arguments.part == "draws":
        draws(paths[0])
    elif arguments.part == "coverage":
        coverage(paths[0] if paths else None)
    else:
        simulated(paths)


if __name__ == "__main__":
    main()
