"""Interrupted jobs on a cluster: the results are those of an uninterrupted run."""

import shutil
import signal

import pytest
from sites import Site, kill, new_site
from slurm import Job, wait_until
from workspaces import new_workspace

pytestmark = pytest.mark.cluster

# Long enough to be interrupted.
TRAINING = {"training.epochs": 40, "training.learning_rate": 0.01}
WEIGHTS = "training/small_cnn/seed-0/epoch-040.safetensors"


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """Final weights of the training on this host without the cluster."""
    workspace = new_workspace(
        tmp_path_factory.mktemp("uninterrupted") / "here", {"device": "cpu", **TRAINING}
    )
    workspace.snakemake("training")
    return (workspace.results / WEIGHTS).read_bytes()


@pytest.fixture
def training(request, tmp_path, cluster):
    """A training on the cluster in its third epoch, and the Snakemake that waits for it."""
    changes = {**TRAINING, "training.epochs": getattr(request, "param", 40)}
    site = new_site(tmp_path / "site", cluster, changes)
    process = site.start("training")
    try:
        wait_until(lambda: "epoch 2/" in log_of(site), "third epoch", seconds=300)
        yield site, process
    finally:
        kill(process)
        cluster.cancel_all()


def log_of(site: Site) -> str:
    path = site.results / "logs/train/small_cnn/seed-0.log"
    return path.read_text() if path.exists() else ""


def completed(site: Site, job: Job) -> None:
    """Wait for SLURM's state of the job; Snakemake, which checks less and less often, may take a minute longer."""
    wait_until(
        lambda: site.cluster.control(job.id)["JobState"] == "COMPLETED", "the job", seconds=200
    )


def test_a_requeued_training_continues(training, uninterrupted):
    site, _ = training
    (job,) = site.jobs("train")
    site.cluster.ask("scontrol", "requeue", str(job.id))
    completed(site, job)
    assert site.cluster.control(job.id)["Restarts"] == "1"
    assert "resuming from" in log_of(site)
    assert (site.results / WEIGHTS).read_bytes() == uninterrupted


def test_a_training_survives_its_node(training, uninterrupted):
    site, process = training
    (job,) = site.jobs("train")
    site.cluster.lose_node("node-gpu")
    wait_until(lambda: site.cluster.control(job.id)["JobState"] == "PENDING", "requeue")
    site.cluster.start_node("node-gpu")
    # The node may start the job again while it still kills the old one, and kill both; Snakemake then retries.
    assert process.wait(timeout=600) == 0
    assert site.cluster.control(job.id)["Restarts"] == "1"
    assert "resuming from" in log_of(site)
    assert (site.results / WEIGHTS).read_bytes() == uninterrupted


def test_snakemake_is_killed_and_started_again(training, uninterrupted):
    site, process = training
    prepared = (site.results / "datasets/digits/dataset.json").stat().st_mtime_ns
    kill(process)
    # As docs/cluster.md says, the jobs that it had submitted still run.
    assert [job.step for job in site.jobs() if job.state == "RUNNING"] == ["train"]
    site.cluster.cancel_all()
    assert "--unlock" in site.snakemake("training", check=False)
    site.snakemake("--unlock")
    site.snakemake("training")
    assert (site.results / "datasets/digits/dataset.json").stat().st_mtime_ns == prepared
    assert "resuming from" in log_of(site)
    assert (site.results / WEIGHTS).read_bytes() == uninterrupted


def test_snakemake_is_told_to_stop_and_started_again(training, uninterrupted):
    site, process = training
    process.terminate()
    assert process.wait(timeout=60) == 1
    printed = (site.folder / "printed").read_text()
    assert "Interrupted: stopping the running jobs." in printed
    assert "2 of 4 jobs done" in printed
    assert "The same command continues from there." in printed
    (job,) = site.jobs("train")
    wait_until(lambda: site.cluster.control(job.id)["JobState"] == "CANCELLED", "the job")
    site.snakemake("training")
    assert "resuming from" in log_of(site)
    assert (site.results / WEIGHTS).read_bytes() == uninterrupted


@pytest.mark.parametrize("training", [100_000], indirect=True)
def test_a_time_limit_saves_the_training_and_the_next_job_has_more(training):
    site, _ = training
    (first,) = site.jobs("train")
    assert first.time_limit == "04:00:00"
    # SLURM counts in minutes.
    hours, minutes, _ = map(int, site.cluster.control(first.id)["RunTime"].split(":"))
    limit = 60 * hours + minutes + 1
    site.cluster.ask("scontrol", "update", f"JobId={first.id}", f"TimeLimit={limit}")
    wait_until(lambda: "resuming from" in log_of(site), "second job", seconds=300)
    first, second = site.jobs("train")
    assert first.state == "TIMEOUT"
    assert second.time_limit == "08:00:00"
    (said,) = (site.folder / ".snakemake/slurm_logs/rule_train").rglob(f"{first.id}.log")
    assert f"{signal.SIGTERM.name}: stopped in epoch" in said.read_text()


def test_a_job_killed_for_memory_is_tried_again_with_more(tmp_path, finished_site):
    shutil.copytree(finished_site.folder, tmp_path / "site", symlinks=True)
    site = Site(tmp_path / "site", finished_site.cluster)
    site.edit(
        "profiles/slurm/config.yaml",
        "  measure_geometry:\n    layers",
        "  measure_geometry:\n    mem_mb: 40 * attempt ** 5\n    layers",
    )
    table = "geometry/small_cnn/seed-0/epoch-001/train/0_Input.json"
    (site.results / table).unlink()
    site.snakemake("geometry")
    killed, done = site.jobs("layers")
    assert killed.state in ("FAILED", "OUT_OF_MEMORY")
    assert (killed.memory, done.memory) == ("40M", "1280M")
    assert done.state == "COMPLETED"
    assert (site.results / table).read_bytes() == (finished_site.results / table).read_bytes()
