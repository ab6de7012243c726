"""`manifold-capacity run`: the pipeline from any folder, with paths relative to the configuration."""

import os
import subprocess
import sys
from subprocess import PIPE, STDOUT

import numpy as np


def test_a_configuration_runs_from_another_folder(workspace, tmp_path):
    folder = workspace.folder
    for name in ("configs", "here", "data"):
        (tmp_path / name).mkdir()
    points = np.random.default_rng(0).standard_normal((2, 5, 9))
    np.savez(tmp_path / "data/recording.npz", conv2=points, conv10=points)
    config = tmp_path / "configs/my.yaml"
    config.write_text("activations: {path: ../data/recording.npz}\ngeometry: {n_gaussians: 10}\n")

    def run(*arguments):
        command = [
            sys.executable,
            "-m",
            "manifold_capacity",
            "run",
            "../configs/my.yaml",
            *arguments,
        ]
        environment = os.environ | {"PYTHONPATH": str(folder / "src")}
        return subprocess.run(
            command, cwd=tmp_path / "here", env=environment, stdout=PIPE, stderr=STDOUT, text=True
        )

    done = run("geometry", "--cores", "2")
    assert done.returncode == 0, done.stdout
    assert "jobs done" in done.stdout  # the display of the profile
    made = (tmp_path / "here/results/geometry").rglob("*.json")
    assert sorted(path.stem for path in made) == ["1_conv2", "2_conv10"]
    assert not (folder / "results").exists()
    plan = run("plan").stdout  # it runs Snakemake again, on a copy of the configuration
    assert "summarize" in plan
    assert "compute_moments" not in plan

    (tmp_path / "data/recording.npz").rename(tmp_path / "here/recording.npz")
    config.write_text("activations: {path: recording.npz}\n")
    done = run("-n")
    assert done.returncode == 1
    assert f"there is no file or folder {tmp_path}/configs/recording.npz" in done.stdout
    assert "write ../here/recording.npz" in done.stdout
    assert run("-n", "--config", "activations={path: recording.npz}").returncode == 0
