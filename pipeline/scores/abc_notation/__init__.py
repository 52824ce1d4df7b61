"""ABC 2.1 -> notes: our own reader of the standard, which refuses by name what it cannot read."""
