"""Mutated files for `fuzz.py`, the readers that get them, and the processes in which they are read."""
