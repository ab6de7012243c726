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
from manifold_capacity.models.layers import select_layers
from manifold_capacity.models.networks import build_model
from manifold_capacity.models.preprocess import Preprocess, to_batch


def timed(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


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
            os.fsync(file.fileno())
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
    times: dict[str, list[float]] = {"forward": [], "write": [], "cached": [], "extract": []}
    with tempfile.TemporaryDirectory(dir=arguments.results) as name:
        folder = Path(name)
        row_points = points_per_batch(layers, indices.shape[1], 64)
        forward(model, images, indices[:2], preprocess, row_points)  # warm
        for _ in range(arguments.repeats):
            times["forward"].append(
                timed(lambda: forward(model, images, indices, preprocess, row_points))
            )
            bare = folder / "bare"
            bare.mkdir()
            times["write"].append(timed(lambda: write(cost.total, folder / "bare")))
            shutil.rmtree(bare)
            os.sync()
            store = folder / "store"

            def run(store: Path = store) -> None:
                extract(
                    model,
                    layers,
                    images,
                    indices,
                    store,
                    preprocess=preprocess,
                    classes=range(arguments.classes),
                    class_names=list(map(str, range(arguments.classes))),
                    split="train",
                    seed=0,
                    device="cpu",
                    projection=arguments.projection,
                )
                times["cached"].append(time.perf_counter() - started)
                for path in store.rglob("*"):
                    if path.is_file():
                        with open(path, "rb") as file:
                            os.fsync(file.fileno())

            started = time.perf_counter()
            times["extract"].append(timed(run))
            shutil.rmtree(store)
            os.sync()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "zarr", "numpy"))
    print(
        f"{arguments.model}, {len(layers)} layers, {indices.size} images of {size} x {size}, "
        f"{cost.total / 2**30:.2f} GiB; {platform.machine()}, {arguments.threads} threads, "
        f"Python {platform.python_version()}, {packages}"
    )
    words = {
        "forward": "forward passes alone",
        "write": "writing alone, to the disk",
        "cached": "extraction, into the cache",
        "extract": "extraction, to the disk",
    }
    for what, seconds in times.items():
        print(f"{words[what]:<28}{min(seconds):7.1f} s  (slowest {max(seconds):.1f} s)")
    rounds = list(zip(times["forward"], times["write"], times["extract"], strict=True))
    print(
        f"extraction / larger of both alone: {', '.join(f'{e / max(f, w):.2f}' for f, w, e in rounds)}; "
        f"/ their sum: {', '.join(f'{e / (f + w):.2f}' for f, w, e in rounds)}; "
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
    )


if __name__ == "__main__":
    main()
