"""The command `manifold-capacity` where its output is closed, full, or in another encoding."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from manifold_capacity import command_line
from manifold_capacity.command_line import errors
from manifold_capacity.summary.tables import read_table


@pytest.fixture
def digits(tmp_path):
    """A file of activations in a folder."""
    points = np.random.default_rng(0).standard_normal((12, 9))
    np.savez(tmp_path / "digits.npz", V1=points, labels=np.arange(12) % 3)


def test_a_closed_pipe_is_no_traceback(digits, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "manifold_capacity", "measure", "digits.npz", "--n-gaussians", "10"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == errors.FAILED


def measure_in_shell(line, folder, file="digits.npz", **environment):
    """Run `measure` with this end of its command line in a shell; (exit code, output, messages)."""
    command = f"{sys.executable} -m manifold_capacity measure {file} --n-gaussians 10 {line}"
    variables = {**os.environ, **environment}
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, env=variables)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "> /dev/full",
            "standard output cannot be written: No space left on device; results are in",
        ),
        (">&-", "standard output is closed; results are in the files of -o and --manifolds"),
    ],
)
def test_results_are_written_before_they_are_printed(digits, tmp_path, line, message):
    code, printed, said = measure_in_shell(
        f"-o layers.csv --manifolds classes.json {line}", tmp_path
    )
    assert (code, printed) == (errors.FAILED, "")
    assert said.startswith(f"manifold-capacity: error: {message}")
    assert said.count("\n") == 1
    assert list(read_table(tmp_path / "layers.csv")["n_gaussians"]) == [10]
    assert json.loads((tmp_path / "classes.json").read_text())


def test_no_messages_are_no_obstacle(digits, tmp_path):
    assert measure_in_shell("2>&-", tmp_path)[0] == errors.DONE
    assert measure_in_shell("--seed -1 2>&- >&-", tmp_path) == (errors.USAGE, "", "")


def test_an_encoding_without_the_sign_prints_escapes(digits, tmp_path):
    (tmp_path / "größe.npz").symlink_to("digits.npz")
    code, printed, said = measure_in_shell("", tmp_path, "größe.npz", PYTHONIOENCODING="ascii")
    assert (code, said) == (errors.DONE, "")
    assert r"gr\xf6\xdfe.npz" in printed


def test_a_name_that_is_no_text_is_one_line(digits, tmp_path, capsys):
    path = tmp_path / os.fsdecode(b"\xff.npy")
    np.save(path, np.eye(3))
    assert command_line.main(["measure", str(path)]) == errors.FAILED
    said = capsys.readouterr().err
    assert said.endswith("is not valid UTF-8; rename it\n")
    assert said.count("\n") == 1
