"""Checks of the machine where a job runs: packages, threads, the GPU, the results folder. A failure says what to change."""

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
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_WRITE_MIB = 64  # enough that a cached write does not flatter the disk much; seconds on a slow one
_LEAST_MIB_PER_S = 8  # below this, VGG16's store of 5 GiB takes ten minutes or more
_LEAST_FREE_GIB = 1
_BUSY_S = 0.5  # seconds of matrix products, to count the busy cores
_DAMAGED = "what is read differs from what was written: set results to another disk"

PACKAGES = {
    "dataset": ("numpy", "pillow", "requests", "scikit-learn"),
    "cpu": ("numpy", "numba", "scipy", "pandas", "threadpoolctl", "zarr", "google-crc32c"),
    "gpu": ("numpy", "torch", "torchvision", "safetensors", "zarr"),
}


class Finding(NamedTuple):
    """The result of one check.

    Attributes
    ----------
    found : str
        The state of what was checked.
    remedy : str
        What to change; empty if the check passed.
    """

    found: str
    remedy: str = ""


def examine(
    kind: str, results: Path, project: Path, *, threads: int, device: str, urls: Sequence[str]
) -> dict[str, Finding]:
    """Run all checks of one kind of job. An exception in a check is a failure of that check.

    Parameters
    ----------
    kind : str
        ``dataset``, ``cpu`` or ``gpu``.
    results : Path
        The results folder; need not exist yet.
    project : Path
        The `pyproject.toml` with the minimum versions.
    threads : int
        Threads assigned to the job.
    device : str
        ``auto``, ``cpu`` or ``cuda``; used by jobs of kind ``gpu``.
    urls : sequence of str
        What a job of kind ``dataset`` would download.

    Returns
    -------
    dict
        Name of the check -> its result.
    """
    checks: dict[str, Callable[[], Finding]] = {
        "where": where,
        "packages": lambda: packages(PACKAGES[kind], minimum_versions(project)),
        "results folder": lambda: write_speed(results),
        "free disk": lambda: free_disk(results),
    }
    if kind == "dataset":
        checks["network"] = lambda: network(urls)
    else:
        checks["threads"] = lambda: busy_threads(threads, torch=kind == "gpu")
    if kind == "cpu":
        checks["moments"] = lambda: moments_roundtrip(results)
        checks["store"] = lambda: store_roundtrip(results)
    if kind == "gpu":
        checks["gpu"] = lambda: gpu(device, os.environ.get("CUDA_VISIBLE_DEVICES"))
    findings = {}
    for name, check in checks.items():
        try:
            findings[name] = check()
        except Exception as error:
            remedy = "install the environment again (make clean, then make demo); see the message"
            findings[name] = Finding(f"{type(error).__name__}: {error}", remedy)
    return findings


def where() -> Finding:
    """Host, SLURM job, Python, and where the software is installed."""
    if os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER"):
        source = "apptainer"
    elif Path(sys.prefix, "conda-meta").is_dir():
        source = f"conda ({sys.prefix})"
    elif sys.prefix != sys.base_prefix:
        source = f"virtual environment ({sys.prefix})"
    else:
        source = sys.prefix
    job = os.environ.get("SLURM_JOB_ID")
    place = f"{platform.node()}, {f'SLURM job {job}' if job else 'no SLURM job'}"
    return Finding(f"{place}; Python {platform.python_version()}; {source}")


def minimum_versions(project: Path) -> dict[str, str]:
    """Package -> minimum version, from a `pyproject.toml`."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    named = [*table["dependencies"], *table["optional-dependencies"]["pipeline"]]
    matches = (re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement) for requirement in named)
    return {match[1]: match[2] for match in matches if match}


def packages(names: Iterable[str], minimum: Mapping[str, str]) -> Finding:
    """Installed versions of packages, compared with the minimum versions."""
    found, wrong = [], []
    for name in names:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = "missing"
        found.append(f"{name} {version}")
        if version == "missing" or _numbers(version) < _numbers(minimum.get(name, "0")):
            wrong.append(f"{name}>={minimum.get(name, '0')}")
    install = "`pip install --require-hashes -r requirements.lock`"
    return Finding(", ".join(found), f"install {', '.join(wrong)}: {install}" if wrong else "")


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
            for _ in range(_WRITE_MIB):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            speed = _WRITE_MIB / (time.perf_counter() - start)
    except OSError as error:
        remedy = "set results to a folder that jobs can write to"
        return Finding(f"{results}: {error.strerror}", remedy)
    remedy = "set results to a faster disk (on a cluster, its scratch file system)"
    return Finding(f"{results} takes {speed:.0f} MiB/s", remedy if speed < _LEAST_MIB_PER_S else "")


def free_disk(results: Path) -> Finding:
    """Free space on the disk of the results folder."""
    folder = next(path for path in [results, *results.absolute().parents] if path.exists())
    free = shutil.disk_usage(folder).free / 2**30
    remedy = (
        "free some space, or set results to a larger disk; `snakemake plan` says what a run needs"
    )
    return Finding(f"{free:.1f} GiB", remedy if free < _LEAST_FREE_GIB else "")


def busy_threads(threads: int, *, torch: bool = False) -> Finding:
    """Check that matrix products use no more threads than assigned, and that the job has as many cores.

    Parameters
    ----------
    threads : int
        Threads assigned to the job.
    torch : bool
        Check PyTorch, set up as for training, instead of numpy.
    """
    from threadpoolctl import threadpool_info

    if torch:
        import torch as library

        library.set_num_threads(threads)
        square: Any = library.ones(600, 600)
        used = library.get_num_threads()
    else:
        square = np.ones((600, 600))
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        used = max((pool["num_threads"] for pool in pools), default=1)
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < _BUSY_S:
        square @ square
    busy = (time.process_time() - cpu) / (time.perf_counter() - wall)
    name, cores, remedy = "PyTorch" if torch else "BLAS", len(os.sched_getaffinity(0)), ""
    if max(used, busy - 0.5) > threads:
        remedy = (
            f"{name} uses more threads than assigned: a module or a startup file sets the number after "
            "Snakemake does (OPENBLAS_NUM_THREADS, MKL_NUM_THREADS or OMP_NUM_THREADS): remove that setting"
        )
    elif cores < threads:
        remedy = f"ask for {threads} CPUs per task (cpus_per_task), or fewer with --cores"
    found = f"{threads} assigned; {name} uses {used} and keeps {busy:.1f} cores busy"
    return Finding(f"{found}; the job may use {cores}", remedy)


def gpu(device: str, visible: str | None) -> Finding:
    """Check that PyTorch computes on the GPUs that were allocated.

    Parameters
    ----------
    device : str
        `device` of the configuration.
    visible : str or None
        The environment's ``CUDA_VISIBLE_DEVICES``: indices of the GPUs that the scheduler allocated, if it says so.
    """
    import torch

    cuda = torch.version.cuda
    build = f"torch {torch.__version__} for {f'CUDA {cuda}' if cuda else 'the CPU only'}"
    if device == "cpu":
        return Finding(f"not asked for (device: cpu); {build}")
    allocated = [name for name in (visible or "").split(",") if name and name != "-1"]
    hidden = visible is not None and not allocated
    present = bool(allocated) or (not hidden and any(Path("/dev").glob("nvidia[0-9]*")))
    count = torch.cuda.device_count()
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
    found = f"device: {device}; {build} sees {names or 'no GPU'}; CUDA_VISIBLE_DEVICES={visible}"
    if count == 0:
        if present and not cuda:
            remedy = (
                "there is a GPU, but this torch is for the CPU only: install a CUDA build of torch"
            )
        elif present:
            remedy = (
                "there is a GPU, but torch does not see it: check that `nvidia-smi` works in a job"
            )
        elif device == "cuda":
            remedy = "ask for a GPU (set-resources in profiles/slurm), or set device to auto or cpu"
        else:
            found, remedy = f"{found}: jobs run on the CPU", ""
    elif allocated and len(allocated) != count:
        remedy = f"{len(allocated)} GPUs were allocated, torch sees {count}: check the driver"
    else:
        ones = torch.ones(64, 64, device="cuda")
        right = bool(((ones @ ones) == 64).all().item())
        remedy = "" if right else "the GPU computes wrongly: report it, and exclude the node"
    return Finding(found, remedy)


def moments_roundtrip(results: Path) -> Finding:
    """Check that moments read from the results folder give the geometry of those that were written."""
    from manifold_capacity.geometry.measure import geometry_from_moments
    from manifold_capacity.geometry.moments import Moments, moments_from_arrays

    moments = moments_from_arrays(np.random.default_rng(0).normal(size=(3, 5, 40)))
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=results, prefix=".doctor-") as folder:
        moments.save(Path(folder, "moments.npz"))
        again = Moments.load(Path(folder, "moments.npz"))
    written, read = (
        geometry_from_moments(each, n_gaussians=20).summary()["capacity"]
        for each in (moments, again)
    )
    fine = written == read and math.isfinite(float(read))
    return Finding(f"written, read, capacity {read:.3f}", "" if fine else _DAMAGED)


def store_roundtrip(results: Path) -> Finding:
    """Check that a zarr array with checksums is read from the results folder as it was written."""
    import zarr
    from zarr.codecs import Crc32cCodec

    values = np.random.default_rng(0).normal(size=(3, 5, 40)).astype(np.float32)
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=results, prefix=".doctor-") as folder:
        path = Path(folder, "store.zarr")
        zarr.create_array(path, data=values, chunks=(1, 5, 40), compressors=[Crc32cCodec()])
        again = np.asarray(zarr.open_array(path, mode="r")[...])
    remedy = "" if np.array_equal(values, again) else _DAMAGED
    return Finding(f"written and read with zarr {zarr.__version__}", remedy)


def network(urls: Sequence[str]) -> Finding:
    """Check that the server of the first download can be reached."""
    if not urls:
        return Finding("not needed: the data are here")
    import requests

    try:
        with requests.get(urls[0], stream=True, timeout=20) as response:
            response.raise_for_status()
    except requests.RequestException as error:
        remedy = "set dataset.url to a mirror, set HTTPS_PROXY, or run `snakemake` once where there is a network"
        return Finding(f"{urls[0]}: {type(error).__name__}", remedy)
    return Finding(f"{urls[0]} can be reached")


def write_findings(findings: Mapping[str, Finding], path: Path) -> None:
    """Write findings as JSON."""
    path.write_text(json.dumps(findings, indent=1) + "\n", encoding="utf-8")


def report(paths: Iterable[Path]) -> tuple[str, int]:
    """The findings of all jobs as text, and the number of failures.

    Parameters
    ----------
    paths : iterable of Path
        Written by `write_findings`; a file's name is the kind of job.
    """
    lines, n_failures = [], 0
    for path in paths:
        lines.append(f"{path.stem} job")
        for check, (found, remedy) in json.loads(path.read_text(encoding="utf-8")).items():
            n_failures += bool(remedy)
            first = f"  {check:<15} {'FAILED' if remedy else 'ok':<7} "
            lines += textwrap.wrap(found, 100, initial_indent=first, subsequent_indent=" " * 26)
            lines += textwrap.wrap(
                f"-> {remedy}" if remedy else "",
                100,
                initial_indent=" " * 26,
                subsequent_indent=" " * 29,
            )
    lines.append(f"{n_failures} of the checks failed." if n_failures else "All checks passed.")
    return "\n".join(lines), n_failures
