"""What a job finds where it runs: packages, threads, the GPU, the results folder. Failures say what to change."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
import sys
import tempfile
import textwrap
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

# Enough that a cached write does not flatter the disk much, and over in seconds on a slow one.
_WRITE_BYTES = 64 * 2**20


# Below this a VGG16's store of 5 GiB takes ten minutes or more.
_LEAST_MIB_PER_S = 8


_LEAST_FREE_GIB = 1


# Seconds of matrix products, to see how many threads are busy.
_BUSY_S = 0.5


PACKAGES = {
    "dataset": ("numpy", "pillow", "requests", "scikit-learn"),
    "cpu": ("numpy", "numba", "scipy", "pandas", "threadpoolctl", "zarr", "google-crc32c"),
    "gpu": ("numpy", "torch", "torchvision", "safetensors", "zarr"),
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    check : str
        What was looked at.
    found : str
        What there is.
    remedy : str
        What to change; empty if all is well.
    """

    check: str
    found: str
    remedy: str = ""


def examine(
    kind: str, results: Path, project: Path, *, threads: int, device: str, urls: Sequence[str]
) -> list[Finding]:
    """All checks of one kind of job. None of them raises: what goes wrong is a finding.

    Parameters
    ----------
    kind : str
        ``dataset``, ``cpu`` or ``gpu``.
    results : Path
        Where results go; need not exist yet.
    project : Path
        The `pyproject.toml` with the least versions.
    threads : int
        What the job was given.
    device : str
        ``auto``, ``cpu`` or ``cuda``; of jobs of kind ``gpu``.
    urls : sequence of str
        What a job of kind ``dataset`` would download.
    """
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("where", where),
        ("packages", lambda: packages(PACKAGES[kind], least_versions(project))),
        ("results folder", lambda: write_speed(results)),
        ("free disk", lambda: free_disk(results)),
    ]
    if kind == "dataset":
        checks.append(("network", lambda: network(urls)))
    else:
        checks.append(("threads", lambda: busy_threads(threads, torch=kind == "gpu")))
    if kind == "cpu":
        checks += [
            ("moments", lambda: moments_roundtrip(results)),
            ("store", lambda: store_roundtrip(results)),
        ]
    if kind == "gpu":
        checks.append(("gpu", lambda: gpu(device, os.environ.get("CUDA_VISIBLE_DEVICES"))))
    return [_guarded(name, check) for name, check in checks]


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        return Finding(
            name,
            problem,
            "install the environment anew (make clean, then make demo); see the message",
        )


def where() -> Finding:
    """Host, job, Python, and what the software came from."""
    if os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER"):
        source = "apptainer"
    elif Path(sys.prefix, "conda-meta").is_dir():
        source = f"conda ({sys.prefix})"
    else:
        source = (
            f"virtual environment ({sys.prefix})" if sys.prefix != sys.base_prefix else sys.prefix
        )
    job = os.environ.get("SLURM_JOB_ID")
    place = f"{platform.node()}, " + (f"SLURM job {job}" if job else "no SLURM job")
    found = f"{place}; Python {platform.python_version()}; {source}"
    return Finding(
        "where", found, "" if sys.version_info >= (3, 11) else "use Python 3.11 or later"
    )


def least_versions(project: Path) -> dict[str, str]:
    """Package -> least version, from a `pyproject.toml`."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    named = [*table["dependencies"], *table["optional-dependencies"]["pipeline"]]
    matches = (re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement) for requirement in named)
    return {match[1]: match[2] for match in matches if match}


def packages(names: Iterable[str], least: Mapping[str, str]) -> Finding:
    """Versions of packages, against the least that will do."""
    found, wrong = [], []
    for name in names:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = "missing"
        found.append(f"{name} {version}")
        if version == "missing" or _numbers(version) < _numbers(least.get(name, "0")):
            wrong.append(f"{name}>={least.get(name, '0')}")
    remedy = (
        f"install {', '.join(wrong)}: `pip install --require-hashes -r requirements.lock`"
        if wrong
        else ""
    )
    return Finding("packages", ", ".join(found), remedy)


def _numbers(version: str) -> list[int]:
    match = re.match(r"\d+(\.\d+)*", version)
    return [int(part) for part in match[0].split(".")] if match else []


def write_speed(results: Path) -> Finding:
    """How fast a file is written to the results folder, flushed to the disk."""
    block = np.random.default_rng(0).bytes(2**20)
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=results, prefix=".doctor-") as file:
            start = time.perf_counter()
            for _ in range(_WRITE_BYTES // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            speed = _WRITE_BYTES / 2**20 / (time.perf_counter() - start)
    except OSError as error:
        return Finding(
            "results folder",
            f"{results}: {error.strerror}",
            "set results to a folder that jobs can write to",
        )
    slow = speed < _LEAST_MIB_PER_S
    remedy = "set results to a faster disk (on a cluster, its scratch file system)" if slow else ""
    return Finding("results folder", f"{results} takes {speed:.0f} MiB/s", remedy)


def free_disk(results: Path) -> Finding:
    """What is free on the disk of the results folder."""
    folder = next(path for path in [results, *results.absolute().parents] if path.exists())
    free = shutil.disk_usage(folder).free / 2**30
    few = free < _LEAST_FREE_GIB
    remedy = (
        "make space, or set results to a larger disk; `snakemake plan` says what a run takes"
        if few
        else ""
    )
    return Finding("free disk", f"{free:.1f} GiB", remedy)


def busy_threads(threads: int, *, torch: bool = False) -> Finding:
    """Whether matrix products use no more threads than the job was given, and whether it may use as many.

    Parameters
    ----------
    threads : int
        What the job was given.
    torch : bool
        Look at PyTorch's arithmetic, set up as training does it, in place of numpy's.
    """
    from threadpoolctl import threadpool_info

    if torch:
        import torch as library

        library.set_num_threads(threads)
        square: Any = library.ones(600, 600)
        used = library.get_num_threads()
    else:
        square = np.ones((600, 600))
        used = max(
            (p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"), default=1
        )
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < _BUSY_S:
        square @ square
    busy = (time.process_time() - cpu) / (time.perf_counter() - wall)
    name = "PyTorch" if torch else "BLAS"
    cores = len(os.sched_getaffinity(0))
    found = f"{threads} given; {name} uses {used} and keeps {busy:.1f} cores busy; the job may use {cores}"
    if max(used, busy - 0.5) > threads:
        return Finding(
            "threads",
            found,
            f"{name} takes more than it was given: something in your environment sets the number of threads after "
            "Snakemake has (OPENBLAS_NUM_THREADS, MKL_NUM_THREADS, OMP_NUM_THREADS; a module, a startup file): take it out",
        )
    if cores < threads:
        return Finding(
            "threads",
            found,
            f"ask for {threads} CPUs per task (cpus_per_task), or fewer with --cores",
        )
    return Finding("threads", found)


def gpu(device: str, visible: str | None) -> Finding:
    """Whether PyTorch computes on the GPUs that were allocated.

    Parameters
    ----------
    device : str
        `device` of the configuration.
    visible : str or None
        The environment's ``CUDA_VISIBLE_DEVICES``: the indices of the GPUs that the scheduler allocated, if it says so.
    """
    import torch

    build = f"torch {torch.__version__} for {f'CUDA {torch.version.cuda}' if torch.version.cuda else 'the CPU only'}"
    if device == "cpu":
        return Finding("gpu", f"not asked for (device: cpu); {build}")
    there = [name for name in (visible or "").split(",") if name and name != "-1"]
    nodes = sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*"))
    count = torch.cuda.device_count()
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
    found = f"device: {device}; {build} sees {names or 'no GPU'}; CUDA_VISIBLE_DEVICES={visible}"
    if count == 0 and (there or nodes) and not torch.version.cuda:
        return Finding(
            "gpu",
            found,
            "there is a GPU, but this torch is for the CPU only: install a CUDA build of torch",
        )
    if count == 0 and (there or nodes):
        return Finding(
            "gpu",
            found,
            "there is a GPU, but torch does not see it: see if `nvidia-smi` works in a job",
        )
    if count == 0 and device == "cuda":
        return Finding(
            "gpu",
            found,
            "ask for a GPU (set-resources in profiles/slurm), or set device to auto or cpu",
        )
    if count == 0:
        return Finding("gpu", f"{found}: jobs run on the CPU")
    if there and len(there) != count:
        return Finding(
            "gpu", found, f"{len(there)} GPUs were allocated, torch sees {count}: check the driver"
        )
    ones = torch.ones(64, 64, device="cuda")
    right = bool(((ones @ ones) == 64).all().item())
    return Finding(
        "gpu", found, "" if right else "the GPU computes wrongly: report it, and exclude the node"
    )


def moments_roundtrip(results: Path) -> Finding:
    """Whether moments and their geometry survive the results folder."""
    from manifold_capacity.geometry.measure import geometry_from_moments
    from manifold_capacity.geometry.moments import Moments, moments_from_arrays

    moments = moments_from_arrays(np.random.default_rng(0).normal(size=(3, 5, 40)))
    with tempfile.TemporaryDirectory(dir=_made(results), prefix=".doctor-") as folder:
        moments.save(Path(folder, "moments.npz"))
        again = Moments.load(Path(folder, "moments.npz"))
    capacity = geometry_from_moments(again, n_gaussians=20).summary()["capacity"]
    same = geometry_from_moments(moments, n_gaussians=20).summary()["capacity"] == capacity
    fine = same and math.isfinite(float(capacity))
    remedy = (
        "" if fine else "what is read differs from what was written: set results to another disk"
    )
    return Finding("moments", f"written, read, capacity {capacity:.3f}", remedy)


def store_roundtrip(results: Path) -> Finding:
    """Whether a zarr array with checksums survives the results folder."""
    import zarr
    from zarr.codecs import Crc32cCodec

    values = np.random.default_rng(0).normal(size=(3, 5, 40)).astype(np.float32)
    with tempfile.TemporaryDirectory(dir=_made(results), prefix=".doctor-") as folder:
        array = zarr.create_array(
            Path(folder, "store.zarr"),
            shape=values.shape,
            dtype=values.dtype,
            chunks=(1, 5, 40),
            compressors=[Crc32cCodec()],
        )
        array[...] = values
        again = np.asarray(zarr.open_array(Path(folder, "store.zarr"), mode="r")[...])
    same = np.array_equal(values, again)
    remedy = (
        "" if same else "what is read differs from what was written: set results to another disk"
    )
    return Finding("store", f"written and read with zarr {zarr.__version__}", remedy)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def network(urls: Sequence[str]) -> Finding:
    """Whether what would be downloaded can be reached."""
    if not urls:
        return Finding("network", "not needed: the data are here")
    import requests

    try:
        with requests.get(urls[0], stream=True, timeout=20) as response:
            response.raise_for_status()
    except requests.RequestException as error:
        return Finding(
            "network",
            f"{urls[0]}: {type(error).__name__}",
            "set dataset.url to a mirror, set HTTPS_PROXY, or run `snakemake` once where there is a network",
        )
    return Finding("network", f"{urls[0]} can be reached")


def write_findings(findings: Sequence[Finding], path: Path) -> None:
    """Write findings as JSON."""
    path.write_text(
        json.dumps([asdict(finding) for finding in findings], indent=1) + "\n", encoding="utf-8"
    )


def report(paths: Iterable[Path]) -> tuple[str, int]:
    """What jobs found, as text, and how many failures there are.

    Parameters
    ----------
    paths : iterable of Path
        Written by `write_findings`; a file's name is the kind of job.
    """
    lines, n_failures = [], 0
    for path in paths:
        lines.append(f"{path.stem} job")
        for entry in json.loads(path.read_text(encoding="utf-8")):
            finding = Finding(**entry)
            n_failures += bool(finding.remedy)
            mark = "FAILED" if finding.remedy else "ok"
            lines += textwrap.wrap(
                finding.found,
                100,
                initial_indent=f"  {finding.check:<15} {mark:<7} ",
                subsequent_indent=" " * 26,
            )
            if finding.remedy:
                lines += textwrap.wrap(
                    f"-> {finding.remedy}", 100, initial_indent=" " * 26, subsequent_indent=" " * 29
                )
    lines.append(f"{n_failures} of the checks failed." if n_failures else "All checks passed.")
    return "\n".join(lines), n_failures
