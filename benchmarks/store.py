"""How activations are best stored: chunks, codecs and number formats, on activations of a real run.

    python benchmarks/store.py results/cifar100_vgg16/activations/vgg16/seed-0/epoch-000/train

For some layers of the store, each candidate is written as extraction writes (one batch of one
class at a time, all features) and read as the moments read (all classes and points, a block of
features at a time), from a disk whose cache was emptied of it. Writing counts until the bytes are
on the disk. Prints a table, with the effect of the number format on the geometry below it.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ZstdCodec

from manifold_capacity.activations.store import open_layer
from manifold_capacity.geometry.measure import geometry_from_moments
from manifold_capacity.geometry.moments import moments_from_arrays

LAYERS = ("1_Conv2d", "18_Conv2d", "33_Linear")


@dataclass(frozen=True)
class Candidate:
    """A layout: shape of a chunk, None meaning all along that axis; shards are one batch each."""

    name: str
    chunk: tuple[int | None, int | None, int | None]
    sharded: bool = True
    dtype: str = "float32"
    codecs: tuple[Any, ...] = (Crc32cCodec(),)


def _blosc(name: str, shuffle: str, dtype: str) -> BloscCodec:
    return BloscCodec(cname=name, clevel=1, shuffle=shuffle, typesize=np.dtype(dtype).itemsize)


CANDIDATES = (
    Candidate("1 class, 4,096 features, in a shard", (1, None, 4096)),
    Candidate("1 class, 1,024 features, in a shard", (1, None, 1024)),
    Candidate("1 class, 256 features, in a shard", (1, None, 256)),
    Candidate("1 class, 4,096 features, a file each", (1, None, 4096), sharded=False),
    Candidate("1 class, all features, a file each", (1, None, None), sharded=False),
    Candidate("1 image, all features, a file each", (1, 1, None), sharded=False),
    Candidate("  + zstd, level 1", (1, None, 4096), codecs=(ZstdCodec(level=1), Crc32cCodec())),
    Candidate(
        "  + blosc lz4, shuffled",
        (1, None, 4096),
        codecs=(_blosc("lz4", "shuffle", "float32"), Crc32cCodec()),
    ),
    Candidate(
        "  + blosc zstd, bits shuffled",
        (1, None, 4096),
        codecs=(_blosc("zstd", "bitshuffle", "float32"), Crc32cCodec()),
    ),
    Candidate("  as float16", (1, None, 4096), dtype="float16"),
    Candidate(
        "  as float16 + blosc lz4, shuffled",
        (1, None, 4096),
        dtype="float16",
        codecs=(_blosc("lz4", "shuffle", "float16"), Crc32cCodec()),
    ),
)


class Features:
    """What the moments take of an array: its shape, chunks and blocks of features."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape = array, array.shape
        self.dtype, self.chunks = np.dtype(str(array.dtype)), array.chunks

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self.array[key])


def on_disk(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def write(candidate: Candidate, values: np.ndarray, folder: Path) -> float:
    """Seconds to write the values, batch by batch, to the disk."""
    shape = values.shape
    chunk = tuple(
        min(wanted or size, size) for wanted, size in zip(candidate.chunk, shape, strict=True)
    )
    shards = None
    if candidate.sharded:
        shards = (1, shape[1], -(-shape[2] // chunk[2]) * chunk[2])
    start = time.perf_counter()
    array = zarr.create_array(
        folder,
        shape=shape,
        chunks=chunk,
        shards=shards,
        dtype=candidate.dtype,
        filters=None,
        serializer=BytesCodec(endian="little"),
        compressors=list(candidate.codecs),
        fill_value=float("nan"),
        config={"write_empty_chunks": True},
    )
    for manifold in range(shape[0]):
        array[manifold : manifold + 1] = values[manifold : manifold + 1].astype(candidate.dtype)
    for path in on_disk(folder):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    return time.perf_counter() - start


def read(folder: Path, block: int) -> float:
    """Seconds to read all features, a block at a time, from the disk."""
    for path in on_disk(folder):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    array = zarr.open_array(folder, mode="r")
    for first in range(0, array.shape[2], block):
        np.asarray(array[:, :, first : first + block])
    return time.perf_counter() - start


def block_of(candidate: Candidate, values: np.ndarray) -> int:
    """Features to read at a time: whole chunks, at most 96 MiB of them, as the moments do."""
    chunk = min(candidate.chunk[2] or values.shape[2], values.shape[2])
    most = 96 * 2**20 // (values.shape[0] * values.shape[1] * 4)
    return chunk if chunk <= most else min(1024, most)


def candidates(layers: dict[str, np.ndarray], folder: Path, repeats: int) -> pd.DataFrame:
    rows = []
    for candidate in CANDIDATES:
        wrote, got, n_bytes, n_files = [], [], 0, 0
        for repeat in range(repeats):
            seconds = [0.0, 0.0]
            for label, values in layers.items():
                place = folder / f"{label}.zarr"
                seconds[0] += write(candidate, values, place)
                seconds[1] += read(place, block_of(candidate, values))
                if repeat == 0:
                    n_bytes += sum(path.stat().st_size for path in on_disk(place))
                    n_files += len(on_disk(place))
                shutil.rmtree(place)
            wrote.append(seconds[0])
            got.append(seconds[1])
        total = sum(values.nbytes for values in layers.values())
        rows.append(
            {
                "layout": candidate.name,
                "write_mb_s": total / min(wrote) / 1e6,
                "write_mb_s_slowest": total / max(wrote) / 1e6,
                "read_mb_s": total / min(got) / 1e6,
                "read_mb_s_slowest": total / max(got) / 1e6,
                "size": n_bytes / total,
                "files": n_files,
            }
        )
        print(f"{candidate.name}: done", flush=True)
    return pd.DataFrame(rows)


def geometry_by_format(layers: dict[str, np.ndarray]) -> pd.DataFrame:
    """Relative difference that float16 makes to each layer's geometry."""
    rows = []
    for label, values in layers.items():
        exact, rounded = (
            geometry_from_moments(moments_from_arrays(values.astype(dtype))).summary()
            for dtype in ("float32", "float16")
        )
        names = ("capacity", "radius", "dimension", "center_correlation")
        rows.append(
            {"layer": label}
            | {name: rounded[name] / exact[name] - 1 for name in names}
            | {"capacity_stderr": exact["capacity_gaussian_stderr"] / exact["capacity"]}
            | {"largest_value": float(np.abs(values).max())}
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, help="folder that holds activations.zarr")
    parser.add_argument("--layers", nargs="+", default=LAYERS)
    parser.add_argument("--classes", type=int, help="the first so many; all by default")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--output", type=Path, help="folder for store.csv, float16.csv")
    arguments = parser.parse_args()
    layers = {
        label: open_layer(arguments.store, label)[: arguments.classes] for label in arguments.layers
    }
    with tempfile.TemporaryDirectory(dir=arguments.store.parent) as folder:
        table = candidates(layers, Path(folder), arguments.repeats)
    packages = ", ".join(f"{name} {version(name)}" for name in ("zarr", "numpy"))
    print(
        f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}, {packages}; "
        f"{', '.join(f'{label} {values.shape}' for label, values in layers.items())}; "
        f"MB of float32, best of {arguments.repeats}"
    )
    print(table.round(2).to_string(index=False))
    print()
    formats = geometry_by_format(layers)
    print(formats.to_string(index=False, float_format="{:.1e}".format))
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        table.to_csv(arguments.output / "store.csv", index=False)
        formats.to_csv(arguments.output / "float16.csv", index=False)


if __name__ == "__main__":
    main()
