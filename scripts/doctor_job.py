"""Check the machine where one kind of job runs."""

from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.workflow.doctor import examine, write_findings

with logs.log_to(snakemake.log[0]):
    params = snakemake.params
    findings = examine(
        params.kind,
        Path(params.results),
        Path(params.project),
        threads=snakemake.threads,
        device=snakemake.resources.get("device", "cpu"),
        urls=params.urls,
    )
    write_findings(findings, Path(snakemake.output[0]))
