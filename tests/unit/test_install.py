"""Setting up the environment: uv with pip's settings, and pip where there is no uv. Both are stand-ins."""

import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "--no-deps --no-build-isolation --editable ."
# `pip`, and the `uv` that it installs, write down how they are called.
PIP = """
import os, sys
from pathlib import Path
called = " ".join(sys.argv[1:])
if "config list" in called:
    print(os.environ["PIP_SETTINGS"])
    sys.exit()
print("pip", called, file=open("calls", "a"))
if "requirements-uv.lock" in called:
    if os.environ["UV_STATUS"] == "none":
        sys.exit("WARNING: of something\\nERROR: no uv for this platform. More of it\\nERROR: and more")
    uv = Path(sys.executable).with_name("uv")
    uv.write_text('#!/bin/sh\\necho uv "$@" >> calls; env | grep ^UV_ > settings; exit $UV_STATUS')
    uv.chmod(0o755)
"""
SETTINGS = """global.index-url='https://global.example/simple'
install.extra-index-url='https://one.example\\nhttps://two.example'
:env:.index-url='https://env.example/simple'
:env:.find-links='/a /b'
global.timeout='3'"""


@pytest.fixture
def install(tmp_path):
    """Runs envs/install.py in a folder; returns the finished process and how pip and uv were called."""
    venv.create(tmp_path / ".venv", with_pip=False, symlinks=True)
    (tmp_path / "envs").mkdir()
    shutil.copy(ROOT / "envs" / "install.py", tmp_path / "envs")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "pip.py").write_text(PIP)

    def run(status, **more):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "PIP_"))}
        environment |= {
            "PYTHONPATH": str(tmp_path / "modules"),
            "UV_STATUS": status,
            "PIP_SETTINGS": SETTINGS,
        }
        command = [tmp_path / ".venv" / "bin" / "python", "envs/install.py"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment | more, text=True, capture_output=True
        )
        return done, (tmp_path / "calls").read_text().splitlines()

    return run


def test_uv_installs_from_where_pip_would(install, tmp_path):
    done, calls = install("0")
    assert done.returncode == 0
    assert [call.split()[0] for call in calls] == ["pip", "uv", "uv"]
    assert "--require-hashes --only-binary :all: -r requirements-uv.lock" in calls[0]
    assert "--require-hashes -r requirements.lock" in calls[1]
    assert PACKAGE in calls[2]
    assert all(f"--python {tmp_path}/.venv/bin/python" in call for call in calls[1:])
    settings = dict(line.split("=", 1) for line in (tmp_path / "settings").read_text().splitlines())
    assert settings["UV_DEFAULT_INDEX"] == "https://env.example/simple"
    assert settings["UV_INDEX"] == "https://one.example https://two.example"
    assert settings["UV_FIND_LINKS"] == "/a,/b"
    (line,) = done.stderr.splitlines()
    assert line.startswith("Packages of requirements.lock")


def test_settings_of_uv_itself_count_more(install, tmp_path):
    install("0", UV_DEFAULT_INDEX="https://uv.example/simple")
    assert "UV_DEFAULT_INDEX=https://uv.example/simple\n" in (tmp_path / "settings").read_text()


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("none", "uv cannot be installed (no uv for this platform); pip installs instead"),
        ("2", "uv failed with status 2; pip installs instead"),
    ],
)
def test_without_uv_pip_installs(install, status, why):
    done, calls = install(status)
    assert done.returncode == 0
    _, line = done.stderr.splitlines()
    assert line.startswith(why)
    assert all(call.startswith("pip") for call in calls[-2:])
    assert "--require-hashes -r requirements.lock" in calls[-2]
    assert PACKAGE in calls[-1]
