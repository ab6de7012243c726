"""Log what a run will do: jobs, time by earlier runs, disk space."""

from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.workflow.plan import (
    describe_plan,
    planned_jobs,
    seconds_of_jobs,
    submissions,
)

with logs.log_to(snakemake.log[0]) as log:
    params = snakemake.params
    jobs = planned_jobs(Path(params.snakefile), params.config, python=params.python)
    submitted = None
    if params.groups is not None:
        submitted = submissions(jobs, params.groups, params.layers_per_run, params.local_rules)
    results = Path(params.results)
    text = describe_plan(
        jobs,
        seconds_of_jobs(results / "benchmarks"),
        params.store_bytes,
        results,
        keep=params.keep,
        at_once=params.at_once,
        submitted=submitted,
        gram_bytes=params.gram_bytes,
        groups=params.groups_of_layers,
    )
    log.info("\n%s", text)
