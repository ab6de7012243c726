"""The configuration of a run: its schema, checks and defaults."""
