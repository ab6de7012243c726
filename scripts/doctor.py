"""Show what the jobs found; a failed check is a failed job."""

import sys
from pathlib import Path

from manifold_capacity.doctor import report
from manifold_capacity.logs import log_to

with log_to(snakemake.log[0]):
    text, n_failures = report(map(Path, snakemake.input))
    print(f"\n{text}\n", flush=True)
sys.exit(n_failures > 0)
