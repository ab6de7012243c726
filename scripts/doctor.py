"""Log the findings of all jobs; fail if a check has failed."""

import sys
from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.workflow.doctor import report

with logs.log_to(snakemake.log[0]) as log:
    text, n_failures = report(map(Path, snakemake.input))
    if n_failures:
        log.error("some checks failed:\n%s", text)
    else:
        log.info("\n%s", text)
sys.exit(n_failures > 0)
