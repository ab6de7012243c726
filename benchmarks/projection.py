"""What the random projection of wide layers does to the geometry: each layer measured with and without.

    python benchmarks/projection.py --data train.npz --model vgg16 --weights vgg16.safetensors

`--data` is an array file (X of shape (n, height, width, channels), y) or the folder of a dataset that a run has
prepared; `--weights`, the checkpoint of a training; without it, weights are random. Gaussian samples are the
same with and without. The projection is drawn anew for each of several trials, by another name of the layer.
Prints a table in Markdown: relative change of capacity, radius and dimension, and change of the center
correlation: root mean square over the trials and, in parentheses, the largest; beside it the interval over classes.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from manifold_capacity.activations.forward import Forward
from manifold_capacity.activations.projection import Projection
from manifold_capacity.datasets.sampling import load_split, sample_manifolds
from manifold_capacity.errors import CaveatWarning
from manifold_capacity.geometry.measure import geometry_from_moments
from manifold_capacity.geometry.moments import moments_from_arrays
from manifold_capacity.models.checkpoints import load_model
from manifold_capacity.models.find_layers import find_layers
from manifold_capacity.models.layers import Layer
from manifold_capacity.models.networks import build_model
from manifold_capacity.models.preprocess import Preprocess, to_batch
from manifold_capacity.models.selection import select_layers

QUANTITIES = ("capacity", "radius", "dimension", "center_correlation")


def outputs_of(
    model: torch.nn.Module, layers: list[Layer], batch: torch.Tensor
) -> dict[str, np.ndarray]:
    """Each layer's values (n_manifolds, n_points, n_features) for images (n_manifolds, n_points, ...)."""
    parts: dict[str, list[np.ndarray]] = {layer.label: [] for layer in layers}

    def receive(layer: Layer, output: torch.Tensor) -> None:
        parts[layer.label].append(output.clone().numpy())

    with Forward(
        model, layers, receive, precision="float32", device=torch.device("cpu")
    ) as forward:
        for images in batch:
            forward(images)
    return {label: np.stack(values) for label, values in parts.items()}


def numbers(values: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CaveatWarning)
        geometry = geometry_from_moments(moments_from_arrays(values), n_gaussians=300, seed=seed)
    found = geometry.summary()
    half = (found["capacity_high"] - found["capacity_low"]) / 2 / found["capacity"]
    return np.array([found[name] for name in QUANTITIES]), f"{half:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--layers", nargs="*", default=["*"], help="patterns of modules' names")
    parser.add_argument("--features", type=int, nargs="*", default=[5000, 2000, 1000])
    parser.add_argument("--trials", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.data.is_dir():
        images, labels = load_split(arguments.data, "train")
    else:
        with np.load(arguments.data) as arrays:
            images, labels = arrays["X"], arrays["y"]
    shape = (images.shape[3], *images.shape[1:3])
    if arguments.weights:
        model, _ = load_model(arguments.weights)
    else:
        torch.manual_seed(0)
        model = build_model(arguments.model, n_classes=int(labels.max()) + 1, image_shape=shape)
    model.eval()
    table = find_layers(model, shape)
    layers = select_layers(table, {"input": True, "types": [], "names": arguments.layers})
    layers = [layer for layer in layers if layer.n_features > min(arguments.features)]
    indices = sample_manifolds(
        labels,
        class_indices=range(arguments.classes),
        points_per_class=arguments.points,
        split="train",
        seed=0,
    )
    preprocess = Preprocess(shape, *channel_statistics(images))
    batch = torch.stack([preprocess(to_batch(images[i], torch.device("cpu"))) for i in indices])
    print(
        f"{arguments.model}, {'trained' if arguments.weights else 'random'} weights, {arguments.classes} classes x "
        f"{arguments.points} points, {arguments.trials} trials; {platform.machine()}, "
        f"torch {version('torch')}, numpy {np.__version__}\n"
    )
    print(f"| layer | features | projected to | {' | '.join(QUANTITIES)} | interval over classes |")
    print("|---" * (4 + len(QUANTITIES)) + "|")
    for layer in layers:
        values = outputs_of(model, [layer], batch)[layer.label]
        exact, interval = numbers(values, 0)
        scale = np.where(np.array(QUANTITIES) == "center_correlation", 1, exact)
        for n_features in arguments.features:
            if n_features >= layer.n_features:
                continue
            changes = []
            for trial in range(arguments.trials):
                named = dataclasses.replace(layer, name=f"{layer.name} {trial}")
                flat = torch.from_numpy(values.reshape(-1, layer.n_features))
                points = Projection(n_features)(named, flat).numpy()
                changes.append((numbers(points.reshape(*indices.shape, -1), 0)[0] - exact) / scale)
            change = np.array(changes)
            typical, most = np.sqrt((change**2).mean(axis=0)), np.abs(change).max(axis=0)
            cells = [f"{one:.2%} ({other:.2%})" for one, other in zip(typical, most, strict=True)]
            cells[-1] = f"{typical[-1]:.4f} ({most[-1]:.4f})"
            row = (layer.label, f"{layer.n_features:,}", f"{n_features:,}", *cells, interval)
            print(f"| {' | '.join(row)} |", flush=True)


def channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    pixels = images[:5000].reshape(-1, images.shape[3]) / 255
    return list(pixels.mean(axis=0)), list(pixels.std(axis=0))


if __name__ == "__main__":
    main()
