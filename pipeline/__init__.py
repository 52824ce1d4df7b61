"""Scores to batches of token ids: read, quantise, encode, store as TFRecords, stream as batches."""
