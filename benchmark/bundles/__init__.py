"""Runs in one file, for others to check: what is in it, how it is written, and what can be verified of it."""
