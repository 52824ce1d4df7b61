"""Many processes, one run: strategies, the training loop, checkpoints, measurement."""
