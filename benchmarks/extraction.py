"""Extraction of activations beside what it cannot do without: the forward pass, and writing as many bytes.

    python benchmarks/extraction.py results/cifar100_vgg16 --model vgg16 --classes 100 --points 50
    python benchmarks/extraction.py results/my-run --model resnet50 --image-size 224 --classes 4

Takes images of the dataset that the run prepared, or of an array file (X, y), and random weights. The
alternatives take turns, and each is beside what the others did not leave behind: files are deleted, and the
disk has everything, before the next begins. Writing counts until the bytes are on the disk, on both sides; "into
the cache" until the system has taken them. Memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from manifold_capacity.activations.extract import extract
from manifold_capacity.activations.grid import points_per_batch, store_size
from manifold_capacity.datasets.sampling import load_split, sample_manifolds
from manifold_capacity.models.find_layers import list_layers
from manifold_capacity.models.networks import build_model
from manifold_capacity.models.preprocess import Preprocess, to_batch
from manifold_capacity.models.selection import select_layers

Times = tuple[float, float, float]


def timed(function: Callable[[], None], folder: Path) -> Times:
    """Seconds until what a function writes is on the disk, until the system has taken it, and of all CPUs."""
    folder.mkdir()
    start, cpu = time.perf_counter(), time.process_time()
    function()
    cached, cpu = time.perf_counter() - start, time.process_time() - cpu
    for path in filter(Path.is_file, folder.rglob("*")):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    on_disk = time.perf_counter() - start
    shutil.rmtree(folder)
    os.sync()
    return on_disk, cached, cpu


def forward(
    model: nn.Module,
    images: np.ndarray,
    indices: np.ndarray,
    preprocess: Preprocess,
    row_points: int,
) -> None:
    """The network alone, with the batches that extraction has."""
    with torch.no_grad():
        for chosen in indices:
            for first in range(0, len(chosen), row_points):
                batch = images[chosen[first : first + row_points]]
                model(preprocess(to_batch(batch, torch.device("cpu"))))


def write(n_bytes: int, folder: Path) -> None:
    """As many bytes, one file after the other, and nothing else."""
    piece = np.random.default_rng(0).bytes(2**24)
    written = 0
    number = 0
    while written < n_bytes:
        with open(folder / str(number), "wb") as file:
            for _ in range(16):
                part = piece[: min(len(piece), n_bytes - written)]
                file.write(part)
                written += len(part)
        number += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--projection", type=int)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.results.suffix == ".npz":
        with np.load(arguments.results) as arrays:
            images, labels = arrays["X"], arrays["y"]
        arguments.results = arguments.results.parent
    else:
        (dataset,) = (arguments.results / "datasets").glob("*/dataset.json")
        images, labels = load_split(dataset.parent, "train")
    size = arguments.image_size or images.shape[1]
    network = {
        "name": arguments.model,
        "n_classes": int(labels.max()) + 1,
        "image_shape": (3, size, size),
    }
    layers = select_layers(
        list_layers(**network), {"input": True, "types": ["Conv2d", "Linear"], "names": []}
    )
    model = build_model(**network).eval()
    preprocess = Preprocess(network["image_shape"])
    indices = sample_manifolds(
        labels,
        class_indices=range(arguments.classes),
        points_per_class=arguments.points,
        split="train",
        seed=0,
    )
    cost = store_size(layers, *indices.shape, projection=arguments.projection)
    row_points = points_per_batch(layers, indices.shape[1], 64)
    with tempfile.TemporaryDirectory(dir=arguments.results) as name:
        folder = Path(name)

        def extraction() -> None:
            extract(
                model,
                layers,
                images,
                indices,
                folder / "files",
                preprocess=preprocess,
                classes=range(arguments.classes),
                class_names=list(map(str, range(arguments.classes))),
                split="train",
                seed=0,
                device="cpu",
                projection=arguments.projection,
            )

        alternatives = {
            "forward passes alone": lambda: forward(model, images, indices, preprocess, row_points),
            "writing alone": lambda: write(cost.total, folder / "files"),
            "extraction": extraction,
        }
        forward(model, images, indices[:2], preprocess, row_points)  # warm
        times = [
            [timed(function, folder / "files") for function in alternatives.values()]
            for _ in range(arguments.repeats)
        ]
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "zarr", "numpy"))
    print(
        f"{arguments.model}, {len(layers)} layers, {indices.size} images of {size} x {size}, "
        f"{cost.total / 2**30:.2f} GiB; {platform.machine()}, {arguments.threads} threads, "
        f"Python {platform.python_version()}, {packages}"
    )
    print(f"{'seconds':<22}{'to the disk':>24}{'into the cache':>24}{'CPU':>24}")
    for what, rounds in zip(alternatives, zip(*times, strict=True), strict=True):
        columns = zip(*rounds, strict=True)
        cells = [f"{min(column):.1f} (most {max(column):.1f})" for column in columns]
        print(f"{what:<22}{''.join(f'{cell:>24}' for cell in cells)}")
    ratios = [[e[0] / max(f[0], w[0]), e[0] / (f[0] + w[0])] for f, w, e in times]
    larger, both = (
        ", ".join(f"{ratio:.2f}" for ratio in column) for column in zip(*ratios, strict=True)
    )
    print(
        f"extraction / larger of both alone: {larger}; / their sum: {both}; "
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
    )


if __name__ == "__main__":
    main()
