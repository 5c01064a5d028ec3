"""The index in which a process looks for words and counts lists: see docs/decisions/search-index.md."""
