"""A whole run with profiles/slurm: which jobs have the GPU, how many submissions, and the same numbers as without it."""

import pytest
from slurm import CPU_PARTITION, GPU_PARTITION

pytestmark = pytest.mark.cluster


def test_only_training_and_extraction_have_the_gpu(finished_site):
    with_gpu = [job for job in finished_site.jobs() if job.has_gpu]
    # One training, and an extraction for each of two checkpoints.
    assert sorted(job.step for job in with_gpu) == [*2 * ["extract_activations"], "train"]
    assert {(job.partition, job.node) for job in with_gpu} == {(GPU_PARTITION, "node-gpu")}
    without = [job for job in finished_site.jobs() if not job.has_gpu]
    assert {(job.partition, job.node) for job in without} == {(CPU_PARTITION, "node-cpu")}


def test_short_jobs_are_submitted_together(finished_site):
    # The four layers of a checkpoint in one submission; tables and figures of the training in another, all others in a third.
    assert sorted(job.step for job in finished_site.jobs() if not job.has_gpu) == [
        *("find_layers", "initial_weights", "layers", "layers", "prepare_dataset", "summary"),
        "training",
    ]
    assert {job.state for job in finished_site.jobs()} == {"COMPLETED"}


def test_every_job_runs_once(finished_site):
    """Snakemake may submit jobs of a group twice, as they were before and after the checkpoint (profiles/slurm)."""
    run = [target for job in finished_site.jobs() for target in job.targets]
    assert len(run) > 25
    assert sorted(run) == sorted({*run})


@pytest.mark.parametrize(
    "pattern",
    ["summary/*.csv", "geometry/**/*.json", "moments/**/*.npz", "training/**/*.safetensors"],
)
def test_results_are_those_of_a_run_without_the_cluster(finished_site, finished_here, pattern):
    there = {
        path.relative_to(finished_site.results): path.read_bytes()
        for path in finished_site.results.glob(pattern)
    }
    here = {
        path.relative_to(finished_here.results): path.read_bytes()
        for path in finished_here.results.glob(pattern)
    }
    assert len(here) >= 2
    assert there == here


def test_nothing_is_left_to_be_done(finished_site):
    assert "Nothing to be done" in finished_site.snakemake("--dry-run")
