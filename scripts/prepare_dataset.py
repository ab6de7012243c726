"""Download or read a dataset, verify it, and lay out its images and labels as arrays."""

from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.datasets.prepare import prepare

with logs.log_to(snakemake.log[0]):
    output = Path(snakemake.output[0]).parent
    # Beside the outputs, not among them: Snakemake deletes the outputs of a job that fails, and a
    # download that was cut goes on where it stopped.
    downloads = output.parent / "downloads"
    prepare(snakemake.params.dataset, output, downloads, threads=snakemake.threads)
