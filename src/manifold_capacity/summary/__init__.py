"""Tables of results: gathered from the jobs, compared, and as text."""
