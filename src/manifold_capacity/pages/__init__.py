"""The report's pages: HTML files that need no other file."""
