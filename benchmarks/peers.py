"""This package beside what others would use, on the same inputs in the same run: docs/performance.md#alternatives.

    git clone https://github.com/schung039/neural_manifolds_replicaMFT build/replicaMFT
    python benchmarks/peers.py --mean-field build/replicaMFT [--data train.npz] [--parts mean-field ...]

Makes an environment for each alternative under --work (with pip, pinned versions, Python 3.11; thingsvision's
takes 7 GB and some minutes). --data: arrays X (n, 32, 32, 3) and y (n,); scikit-learn's digits, scaled up and
turned, without it. Prints a table in Markdown for each part and writes all of them to --output.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from geometry_inputs import machine
from numpy.typing import NDArray
from peers_by_hand import anchor_problems, capacity_by_hand
from peers_runs import Table, commit, environment, run, versions, write
from threadpoolctl import threadpool_limits

from manifold_capacity import measure
from manifold_capacity.activations.grid import points_per_batch
from manifold_capacity.activations.store import open_layer
from manifold_capacity.errors import CaveatWarning
from manifold_capacity.geometry.anchors import anchor_geometry, points_from_gram
from manifold_capacity.geometry.measure import find_centers, gaussian_samples
from manifold_capacity.geometry.moments import moments_from_arrays
from manifold_capacity.models.find_layers import list_layers
from manifold_capacity.models.layers import Layer, write_layers
from manifold_capacity.models.preprocess import Preprocess, to_batch
from manifold_capacity.models.selection import select_layers

FloatArray = NDArray[np.float64]

OURS = "this package"
# The oldest versions with wheels for Python 3.11, and of pymanopt the newest with the interface that the code uses.
MEAN_FIELD = ["numpy==1.23.5", "scipy==1.9.3", "autograd==1.5", "pymanopt==0.2.5", "cvxopt==1.3.2"]
THINGSVISION = [
    "thingsvision==2.7.3",
    "torch==2.0.1",
    "torchvision==0.15.2",
    "tensorflow==2.15.1",
    "numpy==1.26.4",
]
COSTS = (("wall", "s", "s"), ("CPU", "cpu_s", "s"), ("peak memory", "peak_mib", "MiB"))
LAYER = "features.28"  # of VGG16: 2,048 features on 32 x 32 pixels


def load_images(data: Path | None, n_classes: int, n_points: int) -> NDArray[np.uint8]:
    """(n_classes, n_points, 32, 32, 3). Digits turned by a quarter are another class: 40 in all."""
    if data:
        with np.load(data) as arrays:
            images, labels = arrays["X"], arrays["y"]
        chosen = [images[labels == k][:n_points] for k in range(n_classes)]
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        gray = (digits.images * (255 / 16)).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
        colored = gray[..., None].repeat(3, axis=3)
        chosen = [
            np.rot90(colored[digits.target == k % 10][:n_points], k // 10, axes=(1, 2))
            for k in range(n_classes)
        ]
    return np.stack(chosen)


def layer_points(images: NDArray[np.uint8], n_classes: int) -> FloatArray:
    """A layer of VGG16 with random weights, (n_classes, n_points, n_features)."""
    import torch
    from torchvision.models import vgg16

    torch.manual_seed(0)
    model = vgg16(num_classes=n_classes).eval()
    outputs = []

    def keep(_module: object, _inputs: object, output: torch.Tensor) -> None:
        outputs.append(output.flatten(1).numpy().astype(np.float64))

    model.get_submodule(LAYER).register_forward_hook(keep)
    with torch.no_grad():
        for batch in images:
            model((torch.from_numpy(batch.copy()).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)
    return np.stack(outputs)


def mean_field_inputs(arguments: argparse.Namespace) -> Iterator[tuple[str, FloatArray, int]]:
    """Name, manifolds (P, N, m) as the public code takes them, and number of Gaussian vectors."""
    p, n, m, n_t = (20, 300, 20, 50) if arguments.small else (100, 5000, 50, 200)
    np.random.seed(0)  # noqa: NPY002 (as the README does)
    random = np.stack([np.random.randn(n, m) for _ in range(p)])  # noqa: NPY002
    yield f"README's example: {p} x {m}, N = {n:,}", random, n_t
    p = 20 if arguments.small else 40
    points = layer_points(load_images(arguments.data, p, m), p)
    name = "CIFAR-100" if arguments.data else "digits"
    manifolds = np.ascontiguousarray(points.transpose(0, 2, 1))
    yield f"VGG16 {LAYER}, {name}: {p} x {m}, N = {points.shape[2]:,}", manifolds, n_t


def bench_mean_field(arguments: argparse.Namespace, folder: Path) -> Table:
    """The public code's analysis of a layer, and the same call here."""
    if not arguments.mean_field:
        raise SystemExit("the part mean-field needs --mean-field: a checkout of the public code")
    checkout = arguments.mean_field.resolve()
    python = environment(arguments.work, "mean_field", MEAN_FIELD, arguments.python)
    packages = [x.partition("==")[0] for x in MEAN_FIELD]
    table = Table("mean-field")
    table.notes.append(f"public code: commit {commit(checkout)}; {versions(python, packages)}")
    numbers = ("capacity", "radius", "dimension", "center correlation", "K")
    for setting, manifolds, n_t in mean_field_inputs(arguments):
        np.save(folder / "manifolds.npy", manifolds)
        everyone = {
            OURS: (sys.executable, "", None),
            "public code": (python, str(checkout), None),
            "public code, n_reps = 1": (python, str(checkout), 1),
        }
        runs = {who: [] for who in everyone}
        for seed in range(arguments.repeats):
            for who, (interpreter, source, n_reps) in everyone.items():
                settings = {"checkout": source, "n_t": n_t, "n_reps": n_reps, "seed": seed}
                found = run(interpreter, "mean_field", folder, settings, arguments.threads)
                runs[who].append(found)
        exact = measure(manifolds.transpose(0, 2, 1), n_gaussians=n_t).summary()
        for who, found in runs.items():
            for what, key, unit in COSTS:
                table.add(setting, who, what, [r[key] for r in found], unit)
            for what in numbers:
                # Ours has the same Gaussian vectors each time: beside it, their standard error.
                error = exact.get(f"{what}_gaussian_stderr") if who == OURS else None
                table.add(setting, who, what, [r[what] for r in found], "", error=error)
        for what in numbers:
            ours, theirs = (np.mean([r[what] for r in runs[w]]) for w in (OURS, "public code"))
            table.notes.append(f"{setting}: {what}, ours / theirs - 1 = {ours / theirs - 1:+.2%}")
        same = same_anchors(arguments, folder, python, checkout, manifolds, n_t)
        table.notes.append(f"{setting}: {same}")
    return table


def same_anchors(
    arguments: argparse.Namespace,
    folder: Path,
    python: Path,
    checkout: Path,
    manifolds: FloatArray,
    n_t: int,
) -> str:
    """Largest difference where both get the same projected points and Gaussian vectors."""
    moments = moments_from_arrays(manifolds.transpose(0, 2, 1))
    _, projected = find_centers(moments, seed=0)
    dimension = min(moments.n_features, manifolds.shape[2])
    draw = gaussian_samples(0, n_t)
    ours, points, gaussians = [], [], []
    for i, gram in enumerate(projected.deviation_gram):
        s = points_from_gram(gram, dimension, 1e-13 * gram.diagonal().max())
        t = draw(i, dimension)
        ours.append(list(anchor_geometry(s, t)))
        points.append(np.column_stack([s, np.ones(len(s))]).T)
        gaussians.append(t.T)
    np.save(folder / "points.npy", np.stack(points))
    np.save(folder / "gaussians.npy", np.stack(gaussians))
    run(python, "anchors", folder, {"checkout": str(checkout)}, arguments.threads)
    differences = np.abs(np.array(ours) / np.load(folder / "anchors.npy") - 1).max(axis=0)
    names = ("capacity", "radius", "dimension")
    listed = ", ".join(f"{n} {d:.0e}" for n, d in zip(names, differences, strict=True))
    return (
        f"Largest relative difference over {len(ours)} manifolds, same projected points, same "
        f"{n_t} Gaussian vectors each: {listed}"
    )


def bench_extraction(arguments: argparse.Namespace, folder: Path) -> Table:
    """thingsvision and this package: the same layers of the same network and images, into files."""
    import torch
    import torchvision

    python = environment(arguments.work, "thingsvision", THINGSVISION, arguments.python)
    name, n_classes, n_points = ("resnet18", 4, 25) if arguments.small else ("vgg16", 8, 50)
    images = load_images(arguments.data, n_classes, n_points).reshape(-1, 32, 32, 3)
    torch.manual_seed(0)
    torch.save(
        torchvision.models.get_model(name, num_classes=100).state_dict(), folder / "weights.pt"
    )
    layers = select_layers(
        list_layers(name, n_classes=100, image_shape=(3, 32, 32)),
        {"input": False, "types": ["Conv2d", "Linear"], "names": []},
    )
    write_layers(layers, folder / "layers.csv")
    settings = {
        "model": name,
        "n_classes": 100,
        "n_points": n_points,
        "modules": [layer.name for layer in layers],
        "batch_size": points_per_batch(layers, n_points, 64),
        "normalization": {"mean": [0.5] * 3, "std": [0.25] * 3},
    }
    preprocess = Preprocess((3, 32, 32), **settings["normalization"])

    def give(given: NDArray[np.uint8]) -> None:
        np.save(folder / "images.npy", given)
        normalized = preprocess(to_batch(given, torch.device("cpu")))
        np.save(folder / "normalized.npy", normalized.numpy())

    joint, single = "thingsvision, one pass for all", "thingsvision, one pass for each module"
    everyone = {
        OURS: (sys.executable, "extraction", {}),
        joint: (python, "thingsvision", {"joint": True}),
        single: (python, "thingsvision", {"joint": False}),
        f"forward passes alone, torch {torch.__version__.partition('+')[0]}": (
            sys.executable,
            "forward",
            {},
        ),
        f"forward passes alone, {THINGSVISION[1].replace('==', ' ')}": (python, "forward", {}),
    }

    def one(who: str) -> dict[str, float]:
        interpreter, program, more = everyone[who]
        return run(interpreter, program, folder, settings | more, arguments.threads)

    def clean() -> None:
        for made in ("ours", "theirs"):
            shutil.rmtree(folder / made, ignore_errors=True)
        os.sync()

    table = Table("extraction")
    table.notes.append(versions(python, [x.partition("==")[0] for x in THINGSVISION]))
    give(images[: 2 * n_points])
    one(OURS)
    for who in (joint, single):
        one(who)
        difference = largest_difference(folder, layers)
        table.notes.append(f"{who}: activations differ by {difference:.1e} of a layer's largest")
        shutil.rmtree(folder / "theirs")
    clean()
    give(images)
    runs = {who: [] for who in everyone}
    for _ in range(arguments.repeats):
        for who, found in runs.items():
            found.append(one(who))
            clean()
    data = "CIFAR-100" if arguments.data else "digits"
    setting = f"{name}, {len(layers)} layers, {len(images):,} images ({data})"
    for who, found in runs.items():
        for what, key, unit in (
            *COSTS,
            ("whole process", "process_s", "s"),
            ("on disk", "mib", "MiB"),
        ):
            if key in found[0]:
                table.add(setting, who, what, [r[key] for r in found], unit)
    return table


def largest_difference(folder: Path, layers: Sequence[Layer]) -> float:
    """Of the activations that both wrote, relative to each layer's largest."""
    differences = []
    for layer in layers:
        ours = np.asarray(open_layer(folder / "ours", layer.label)).reshape(-1, layer.n_features)
        files = sorted(
            (folder / "theirs" / layer.name).glob("*.npy"),
            key=lambda path: int(path.stem.rpartition("-")[2]),
        )
        theirs = np.concatenate([np.load(path) for path in files])
        differences.append(np.abs(ours - theirs).max() / np.abs(ours).max())
    return float(np.max(differences))  # NaN if one is


def bench_by_hand(arguments: argparse.Namespace, _folder: Path) -> Table:
    """Exact capacity and single quadratic programs, beside scikit-learn and scipy."""
    table = Table("by-hand")
    names = ("scikit-learn", "scipy", "cvxopt", "numba", "numpy")
    table.notes.append(versions(Path(sys.executable), names))
    name = "CIFAR-100" if arguments.data else "digits"
    p, m = (20, 20) if arguments.data and not arguments.small else (10, 8)
    with threadpool_limits(limits=arguments.threads):
        pixels = load_images(arguments.data, p, m).reshape(p, m, -1) / 255
        n_repetitions = 10 if arguments.small else 40
        capacity_by_hand(table, f"{name} pixels, {p} x {m}", pixels, n_repetitions)
        p, m = 40, 50
        pixels = load_images(arguments.data, p, m).reshape(p, m, -1) / 255
        n_problems = 20 if arguments.small else 200
        setting = f"anchors of {name} pixels, m = {m}, {n_problems} problems"
        anchor_problems(table, setting, pixels, arguments.repeats, n_problems)
    return table


PARTS = {
    "mean-field": bench_mean_field,
    "extraction": bench_extraction,
    "by-hand": bench_by_hand,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--mean-field", type=Path, help="checkout of the public mean-field code")
    parser.add_argument("--data", type=Path, help=".npz with X (n, 32, 32, 3) and y (n,)")
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks/peers"))
    parser.add_argument("--output", type=Path, help="CSV; default: peers.csv in --work")
    parser.add_argument("--python", default=sys.executable, help="Python of the environments")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="small inputs, to try the program")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", CaveatWarning)
    here = Path(__file__).parents[1]
    ours = commit(here)
    print(f"{machine()}; this package: commit {ours}, {arguments.threads} thread(s)\n", flush=True)
    tables = []
    for part in arguments.parts:
        folder = arguments.work / part
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        tables.append(PARTS[part](arguments, folder))
        print(
            tables[-1].markdown(),
            "",
            *(f"- {note}" for note in tables[-1].notes),
            "",
            sep="\n",
            flush=True,
        )
        write(tables, arguments.output or arguments.work / "peers.csv", ours)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
