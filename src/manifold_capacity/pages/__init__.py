"""Pages of the report, as HTML that needs nothing else."""
