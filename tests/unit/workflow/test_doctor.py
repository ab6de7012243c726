"""What `snakemake doctor` finds: on this machine all is well, and what is made wrong is named with a remedy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_limits

from manifold_capacity.workflow import doctor
from manifold_capacity.workflow.doctor import Finding

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


@pytest.fixture
def one_thread():
    """As in a job that was given one: Snakemake sets the environment, which a process reads at its start."""
    threads = torch.get_num_threads()
    with threadpool_limits(1, user_api="blas"):
        yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["dataset", "cpu", "gpu"])
def test_this_machine_is_well(kind, tmp_path):
    findings = doctor.examine(
        kind, tmp_path / "results", PROJECT, threads=1, device="auto", urls=[]
    )
    assert {check: each for check, each in findings.items() if each.remedy} == {}
    assert {"packages", "results folder"} < findings.keys()
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_was_asked_for_or_allocated_and_is_not_there():
    assert "ask for a GPU" in doctor.gpu("cuda", None).remedy
    assert "torch" in doctor.gpu("auto", "0").remedy
    assert doctor.gpu("auto", "").remedy == ""
    assert doctor.gpu("cpu", "0").remedy == ""


def test_a_results_folder_that_cannot_be_written():
    finding = doctor.write_speed(Path("/proc/results"))
    assert "set results to a folder" in finding.remedy


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
def test_threads_that_take_more_than_they_were_given():
    code = "from manifold_capacity.workflow import doctor; print(doctor.busy_threads(1).remedy)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "uses more threads than assigned" in done.stdout


def test_fewer_cores_than_threads(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert "ask for 4 CPUs per task" in doctor.busy_threads(4).remedy


def test_packages_that_are_old_or_missing():
    minimum = doctor.minimum_versions(PROJECT)
    assert minimum["torch"].startswith("2.")
    assert doctor.packages(["numpy", "torch"], minimum).remedy == ""
    assert "numpy>=99.1" in doctor.packages(["numpy"], {"numpy": "99.1"}).remedy
    assert "no-such-package" in doctor.packages(["no-such-package"], {}).remedy
    listed = {name for names in doctor.PACKAGES.values() for name in names}
    assert listed <= set(minimum)


def test_a_network_that_cannot_be_reached():
    finding = doctor.network(["http://127.0.0.1:9/file"])
    assert "dataset.url" in finding.remedy


@pytest.mark.usefixtures("one_thread")
def test_what_goes_wrong_in_a_check_is_a_finding(tmp_path):
    findings = doctor.examine(
        "cpu", tmp_path, tmp_path / "missing.toml", threads=1, device="cpu", urls=[]
    )
    assert [check for check, each in findings.items() if each.remedy] == ["packages"]


def test_the_report_counts_failures(tmp_path):
    doctor.write_findings({"where": Finding("here")}, tmp_path / "cpu.json")
    doctor.write_findings({"gpu": Finding("none", "ask for one")}, tmp_path / "gpu.json")
    text, n_failures = doctor.report([tmp_path / "cpu.json", tmp_path / "gpu.json"])
    assert n_failures == 1
    assert "-> ask for one" in text
    assert text.splitlines()[0] == "cpu job"
