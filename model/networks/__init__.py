"""The networks, their decoding states, and the checkpoint that keeps their weights."""
