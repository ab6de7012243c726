"""Figures of results, drawn from the tables."""
