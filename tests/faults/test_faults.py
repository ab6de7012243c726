"""After any fault in any rule, the same command gives the bytes of an undisturbed run. Takes long: `make test-faults`."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from workspaces import Workspace, new_workspace

# Two checkpoints of one layer; every rule that has no alternative
CONFIG = {
    "layers": {"input": False, "types": [], "names": ["classifier.2"]},
    "geometry": {
        "n_gaussians": 40,
        "simulated": True,
        "measures": ["mean_field", "glue"],
        "glue": {"n_samples": 20},
    },
}
OTHER = CONFIG | {
    "manifolds.points_per_class": 13,
    "training.learning_rate": 0.02,
    "dataset.normalize": "none",
}
RULES = [
    "find_layers",
    "prepare_dataset",
    "initial_weights",
    "train",
    "extract_activations",
    "compute_moments",
    "simulate_capacity",
    "compute_gram",
    "measure_glue",
    "measure_geometry",
    "summarize",
    "summarize_training",
    "compare",
    "draw_layers",
    "draw_training",
    "write_pages",
    "write_training_page",
]


def contents(workspace: Workspace) -> dict[str, bytes]:
    """All that a run is for: tables, figures and the provenance. Two of the pages quote logs, which have times."""
    files = [workspace.results / name for name in ("provenance.json", "pages/comparisons.html")]
    for folder in ("summary", "figures"):
        files += (workspace.results / folder).iterdir()
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run with `OTHER`; shared, so not to be changed."""
    workspace = new_workspace(tmp_path_factory.mktemp("undisturbed") / "run", OTHER)
    workspace.snakemake()
    return workspace


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = new_workspace(tmp_path_factory.mktemp("finished") / "run", CONFIG)
    workspace.snakemake()
    return workspace


@pytest.fixture
def finished(finished_once: Workspace, tmp_path: Path) -> Workspace:
    """A finished run with `CONFIG`, to be changed."""
    return finished_once.twin(tmp_path / "run")


def test_every_rule_may_fail_under_another_configuration(finished, undisturbed):
    finished.configure(OTHER)
    # Those before do not depend on what has changed.
    affected = RULES[RULES.index("train") :]
    for place, rule in enumerate(affected):
        finished.break_rules(*affected[place:])
        printed = finished.snakemake(check=False)
        assert re.search(rf"^  {rule}.*MemoryError", printed, re.MULTILINE), printed
    (finished.folder / "break").unlink()
    finished.snakemake()
    assert contents(finished) == contents(undisturbed)
    assert "Nothing to be done" in finished.snakemake()


def test_any_intermediate_file_may_be_gone(finished, finished_once):
    before = contents(finished_once)
    files = [path for path in finished.results.rglob("*") if path.is_file()]
    kinds = {}
    for path in files:
        inside = path.relative_to(finished.results)
        if inside.parts[0] not in ("logs", "benchmarks") and not path.name.startswith("."):
            kinds[inside.parts[0], path.name if len(inside.parts) < 4 else path.suffix] = path
    assert len(kinds) > 30
    for path in kinds.values():
        path.unlink()
        finished.snakemake()
        assert contents(finished) == before, path


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def _terminate(process: subprocess.Popen[bytes]) -> None:
    process.terminate()


def _terminate_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)


def _interrupt_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGINT)


def _kill_jobs(process: subprocess.Popen[bytes]) -> None:
    """As the kernel does when memory is short."""
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()


@pytest.mark.parametrize(
    "kill", [_kill_group, _terminate, _terminate_group, _interrupt_group, _kill_jobs]
)
def test_a_run_that_is_killed_in_every_rule_ends_as_an_undisturbed_one(
    kill: Callable[[subprocess.Popen[bytes]], None], undisturbed, tmp_path
):
    workspace = new_workspace(tmp_path / "run", OTHER)
    chance, remaining, forced = random.Random(kill.__name__), [*RULES], []
    for _ in range(4 * len(RULES)):
        if not remaining:
            break
        process, since = _start(workspace, *forced), time.time()
        rule = _wait_for_a_job(workspace, remaining, process, since)
        time.sleep(chance.uniform(0, 1.5))
        # Without such a job: the next time, one that has been done is done again.
        forced = [] if rule else ["--forcerun", remaining[0]]
        if rule and process.poll() is None:
            kill(process)
            remaining.remove(rule)
        try:
            process.wait(300)
        except subprocess.TimeoutExpired:
            _kill_group(process)
            raise AssertionError(
                f"{rule}: still running five minutes after {kill.__name__}"
            ) from None
        _wait_for_the_end_of_jobs(workspace)
    assert remaining == []
    workspace.snakemake("--unlock")
    workspace.snakemake()
    assert contents(workspace) == contents(undisturbed)
    assert "Nothing to be done" in workspace.snakemake()


def _start(workspace: Workspace, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "snakemake", *arguments]
    workspace.snakemake("--unlock")
    with (workspace.folder / "printed").open("ab") as file:
        return subprocess.Popen(
            command, cwd=workspace.folder, stdout=file, stderr=file, start_new_session=True
        )


def _wait_for_a_job(
    workspace: Workspace, rules: list[str], process: subprocess.Popen[bytes], since: float
) -> str:
    """The first of some rules of which a job opens its log; empty if the run ends before."""
    while process.poll() is None:
        for rule in rules:
            logs = [workspace.results / f"logs/{rule}.log"]
            logs += (workspace.results / "logs" / rule).rglob("*.log")
            if any(path.exists() and path.stat().st_mtime >= since for path in logs):
                return rule
        time.sleep(0.02)
    return ""


def _wait_for_the_end_of_jobs(workspace: Workspace) -> None:
    """Jobs of a Snakemake that was killed may still run."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        folders = set()
        for process in psutil.process_iter():
            try:
                folders.add(process.cwd())
            except psutil.Error:
                continue
        if str(workspace.folder) not in folders:
            return
        time.sleep(0.1)
    raise AssertionError("jobs still run a minute after their Snakemake has ended")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


# One rule fills it; later ones, which may run before it, only fail.
FILL = """if not re.search(f"logs/{open('fill').read()}[./]", path):
                raise MemoryError
            with open("results/ballast", "wb") as ballast:
                free = os.statvfs("results")
                os.posix_fallocate(ballast.fileno(), 0, free.f_bavail * free.f_frsize)"""


def test_the_disk_is_full_in_every_rule(undisturbed, small_disk, tmp_path):
    workspace = new_workspace(tmp_path / "run", OTHER)
    workspace.results.symlink_to(small_disk, target_is_directory=True)
    silent = {}
    for place, rule in enumerate(RULES):
        (workspace.folder / "fill").write_text(rule)
        workspace.break_rules(*RULES[place:], fault=FILL)
        # One job at a time: what another one deletes would make room in the meantime.
        printed = workspace.snakemake("--cores=1", "--keep-going", check=False)
        (small_disk / "ballast").unlink()
        if not re.search(rf"^  {rule}.*make room", printed, re.MULTILINE):
            silent[rule] = printed
    (workspace.folder / "break").unlink()
    workspace.snakemake()
    assert contents(workspace) == contents(undisturbed)
    assert silent == {}


def test_results_that_cannot_be_written_to_are_named(finished):
    shutil.rmtree(finished.results / "figures")
    (finished.results / "figures").write_text("a file")
    printed = finished.snakemake(check=False)
    assert "results/figures" in printed
    assert "Traceback" not in printed
