"""The text of `snakemake plan`, from known numbers of jobs, benchmark files and layers."""

import pytest

from manifold_capacity.workflow.plan import (
    describe_plan,
    groups_of_profile,
    seconds_of_jobs,
    submissions,
)

GIB = 2**30
GROUPS = {
    "groups": {
        "moments": "layers-{run}",
        "geometry": "layers-{run}",
        "draw": "summary",
        "sum": "summary",
    },
    "group-components": {"layers-{run}": 16, "summary": 6},
}


def test_times_are_means_of_the_benchmark_files(tmp_path):
    for name, seconds in (("sum.tsv", 3), ("geometry/a/1.tsv", 1), ("geometry/b/1.tsv", 2)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t-\n")
    assert seconds_of_jobs(tmp_path) == {"sum": (3.0, 1), "geometry": (1.5, 2)}
    assert seconds_of_jobs(tmp_path / "missing") == {}


@pytest.mark.parametrize(
    ("jobs", "n"),
    [
        ({"train": 5, "take_store_slot": 9}, 5),
        # Three runs of 17, 20 and 10 layers, up to 16 in a group: 2 + 2 + 1.
        ({"train": 5, "moments": 47, "geometry": 47, "sum": 1, "draw": 4}, 5 + 5 + 1),
        # Some layers of them, in equal parts: 5 * 20 / 47.
        ({"moments": 20, "geometry": 20}, 3),
        ({}, 0),
    ],
)
def test_submissions(jobs, n):
    assert submissions(jobs, GROUPS, [17, 20, 10], local_rules=["take_store_slot"]) == n


def test_without_groups_every_job_is_submitted(tmp_path):
    assert submissions({"moments": 47, "geometry": 47}, {}, [47]) == 94
    assert groups_of_profile(tmp_path / "config.yaml", {}) is None
    (tmp_path / "config.yaml").write_text("jobs: 1\ngroups: {moments: layers}\n")
    assert groups_of_profile(tmp_path / "config.yaml", {"draw": "summary"}) == {
        "groups": {"draw": "summary", "moments": "layers"},
        "group-components": {},
    }


def test_rules_without_measured_times(tmp_path):
    text = describe_plan(
        {"train": 2, "geometry": 100}, {"geometry": (1.5, 4)}, [], tmp_path, keep=True, at_once=None
    )
    assert "not measured yet" in text
    assert "As a rule" not in text
    assert "1.5 s (mean of 4)" in text
    assert "2 min + ?" in text
    text = describe_plan({"measure_geometry": 9}, {}, [], tmp_path, keep=True, at_once=None)
    assert "As a rule, a layer takes 2 to 5 seconds of one core" in text


@pytest.mark.parametrize(
    ("keep", "at_once", "most"),
    [(True, None, "12 GiB"), (False, 2, "6 GiB"), (False, None, "12 GiB")],
)
def test_the_disk(tmp_path, keep, at_once, most):
    sizes = [3 * GIB] * 4
    text = describe_plan(
        {"extract_activations": 4}, {}, sizes, tmp_path / "not" / "yet", keep=keep, at_once=at_once
    )
    assert "4 stores of 3 GiB each, 12 GiB in all" in text
    assert f"At most {most} at one time" in text
    assert "NOT ENOUGH" not in describe_plan(
        {"train": 1}, {}, sizes, tmp_path, keep=True, at_once=None
    )
    huge = describe_plan(
        {"extract_activations": 1}, {}, [2**60], tmp_path, keep=keep, at_once=at_once
    )
    assert "NOT ENOUGH" in huge


def test_groups_of_layers_are_listed_if_something_is_extracted(tmp_path):
    options = {"keep": False, "at_once": 1, "groups": {"net": ["1_Conv2d", "2_Conv2d to 4_Conv2d"]}}
    text = describe_plan({"extract_activations": 2}, {}, [GIB] * 2, tmp_path, **options)
    assert "net: 2 groups of layers, with a forward pass and a store each: 1_Conv2d, 2_Conv" in text
    assert "groups of" not in describe_plan({"train": 1}, {}, [GIB] * 2, tmp_path, **options)


def test_nothing_to_be_done(tmp_path):
    text = describe_plan({}, {}, [1], tmp_path, keep=True, at_once=None)
    assert text.startswith("Nothing to be done")
