"""Whether hosts are fit to train on: facts, checks, the network that they share."""
