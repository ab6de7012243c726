"""What the Snakefile and its tools need, as plain functions."""
