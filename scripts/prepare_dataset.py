"""Download or read a dataset, verify it, and write its images and labels as arrays."""

from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.datasets.prepare import prepare

with logs.log_to(snakemake.log[0]):
    output = Path(snakemake.output[0]).parent
    # Not among the outputs: Snakemake deletes the outputs of a failed job, but an interrupted
    # download should resume.
    downloads = output.parent / "downloads"
    step = snakemake.params.step
    prepare(step["dataset"], output, downloads, threads=snakemake.threads, keys=step["keys"])
