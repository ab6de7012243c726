"""Fixtures: a fresh copy of the working tree, and finished runs."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest
from workspaces import Workspace, new_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh copy of the working tree, nothing run yet."""
    return new_workspace(tmp_path / "fresh")


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run, shared by all tests: look, don't touch. What it said is in `printed`."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # made once for all processes
        folder = folder.parent
    with open(folder / "finished.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        workspace = Workspace(folder / "finished" / "run")
        printed = workspace.folder / "printed"
        if not printed.exists():
            shutil.rmtree(workspace.folder, ignore_errors=True)
            new_workspace(workspace.folder)
            printed.write_text(workspace.snakemake())
    return workspace


@pytest.fixture
def finished(finished_once: Workspace, tmp_path: Path) -> Workspace:
    """A finished run to change and run again."""
    return finished_once.twin(tmp_path / "finished")
