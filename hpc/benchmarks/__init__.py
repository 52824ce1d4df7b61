"""The rows of hpc/bench.py, a file for each group."""
