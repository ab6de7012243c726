"""Checks of `snakemake doctor`: this machine passes them, and a failure names a remedy."""

import os
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
import torch

from manifold_capacity.geometry.moments import Moments, moments_from_arrays
from manifold_capacity.workflow import doctor
from manifold_capacity.workflow.doctor import Finding

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


@pytest.fixture
def one_thread():
    """As in a job with one thread, whose number Snakemake sets in the environment that a process reads at its start."""
    threads = torch.get_num_threads()
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["dataset", "cpu", "gpu"])
def test_this_machine_passes(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_LEAST_MIB_PER_S", 0)  # however busy its disk is
    findings = doctor.examine(
        kind, tmp_path / "results", PROJECT, threads=1, device="auto", urls=[]
    )
    assert {check: each for check, each in findings.items() if each.remedy} == {}
    assert {"packages", "results folder"} < findings.keys()
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize(
    ("device", "visible", "count", "remedy"),
    [
        ("cuda", "", 0, "ask for a GPU"),
        ("auto", "", 0, ""),
        ("auto", "0", 0, "torch"),  # allocated, and not seen
        ("cuda", "0,1", 1, "2 GPUs were allocated, torch sees 1"),
        ("cpu", "0", 0, ""),
    ],
)
def test_gpus_that_are_asked_for_or_allocated(monkeypatch, device, visible, count, remedy):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "A100")
    found = doctor.gpu(device, visible)
    assert bool(found.remedy) == bool(remedy)
    assert remedy in found.remedy
    assert ("A100" in found.found) == (count > 0)


def test_a_results_folder_that_cannot_be_written():
    finding = doctor.write_speed(Path("/proc/results"))
    assert "set results to a folder" in finding.remedy


def test_a_disk_that_is_slow_or_full(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_LEAST_MIB_PER_S", 1e9)
    monkeypatch.setattr(doctor, "_LEAST_FREE_GIB", 1e9)
    assert "faster disk" in doctor.write_speed(tmp_path).remedy
    assert "larger disk" in doctor.free_disk(tmp_path / "not" / "yet").remedy


def test_moments_that_are_read_differently(monkeypatch, tmp_path):
    def load(path):
        return moments_from_arrays(np.random.default_rng(1).normal(size=(3, 5, 40)))

    monkeypatch.setattr(Moments, "load", load)
    assert "another disk" in doctor.moments_roundtrip(tmp_path).remedy


def test_more_threads_than_assigned(monkeypatch):
    pools = [{"user_api": "blas", "num_threads": 2}, {"user_api": "openmp", "num_threads": 8}]
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: pools)
    assert "uses more threads than assigned" in doctor.busy_threads(1).remedy
    assert "BLAS uses 2" in doctor.busy_threads(2).found


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
def test_an_exception_is_a_failure_of_its_check(tmp_path):
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
