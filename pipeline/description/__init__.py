"""What is in a data set, and which sequence length fits it."""
