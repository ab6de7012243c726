"""`snakemake plan` and `snakemake doctor`, as a user calls them."""

import re


def test_the_plan_of_a_fresh_run(workspace):
    printed = workspace.snakemake("plan")
    assert re.search(r"^train +1 +not measured yet", printed, re.MULTILINE)
    assert re.search(r"^measure_geometry +8 +not measured yet", printed, re.MULTILINE)
    assert not (workspace.results / "training").exists()


def test_the_plan_of_a_changed_run(finished):
    finished.configure({"geometry.margin": 0.5})
    printed = finished.snakemake("plan")
    assert re.search(r"^measure_geometry +8 +[\d.]+ s \(mean of 8\)", printed, re.MULTILINE)
    assert not re.search(r"^compute_moments", printed, re.MULTILINE)
    assert finished.planned("plan") == {"plan": 1}  # it runs whenever it is asked for


def test_the_doctor_says_what_is_wrong_and_checks_again(workspace):
    workspace.configure({"device": "cuda", "results": "/proc/results"})
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    printed = workspace.snakemake("doctor", check=False, environment=hidden)
    assert "set results to a folder that jobs can write to" in printed
    assert "ask for a GPU" in printed
    workspace.configure()
    printed = workspace.snakemake("doctor")
    assert "All checks passed." in printed
