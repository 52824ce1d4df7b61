"""The training of one run: from preflight checks to the last checkpoint."""
