"""Whole tables from Python: layers given as arrays, measured as the pipeline measures them."""
