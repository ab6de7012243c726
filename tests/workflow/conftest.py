"""Fixtures: a fresh copy of the working tree, and finished runs."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest
from playwright.sync_api import Browser, sync_playwright
from workspaces import Workspace, new_workspace

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh copy of the working tree without results."""
    return new_workspace(tmp_path / "fresh")


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run, started as a user does; shared by all tests, so not to be changed. Its output is in `printed`."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # one run for all processes
        folder = folder.parent
    with open(folder / "finished.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        workspace = Workspace(folder / "finished" / "run")
        printed = workspace.folder / "printed"
        if not printed.exists():
            shutil.rmtree(workspace.folder, ignore_errors=True)
            new_workspace(workspace.folder)
            command = [sys.executable, "-m", "snakemake"]
            done = subprocess.run(
                command, cwd=workspace.folder, stdout=PIPE, stderr=STDOUT, text=True
            )
            assert done.returncode == 0, done.stdout
            printed.write_text(done.stdout)
    return workspace


@pytest.fixture
def finished(finished_once: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished run, to be changed and run again."""
    return finished_once.twin(tmp_path / "finished")
